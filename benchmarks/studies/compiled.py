"""Launches compiled without a GPU, with exactly the kernel and constants that a GPU would get."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia import compiler as nvidia
from triton.compiler import ASTSource

from cpm_fast.kernels.launch import Launch

POINTERS = {torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.float32: "*fp32"}
# The most shared memory that a program may use (CUDA programming guide, compute capabilities): 163 and 227 KB.
SHARED_LIMIT_BYTES = {80: 163 << 10, 90: 227 << 10}
PROGRAMS = Path(nvidia.__file__).parent / "bin"


@dataclass(frozen=True)
class Compiled:
    """One kernel on one chip: registers a thread, bytes, and which tensor-core instruction its SASS has."""

    registers: int
    shared: int
    spills: int  # instructions that read or write local memory
    stack: int  # bytes of local memory a thread
    tensor_core: str  # "wgmma", "mma" or "none"
    async_copies: bool  # whether loads go to shared memory asynchronously
    warp_grid: tuple[int, ...]  # warps by rows and columns of a matrix product's result; empty without tensor cores


Key = tuple[object, ...]


def launch_key(launch: Launch, capability: int) -> Key:
    """Return a key that is equal for launches that share a compiled kernel."""
    signature, constants, attributes = _specialized(launch)
    frozen = [tuple(sorted(part.items(), key=str)) for part in (signature, constants)]
    return (launch.kernel.__name__, *frozen, str(attributes), launch.warps, launch.stages, capability)


def compile_launch(launch: Launch, capability: int) -> Compiled:
    """Compile for sm_80, sm_90 and so on, and read registers, memory and instructions from the result."""
    signature, constants, attributes = _specialized(launch)
    source = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants, attrs=attributes)
    options = {"num_warps": launch.warps, "num_stages": launch.stages}
    kernel = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = _output("cuobjdump", "-res-usage", file.name)
        sass = _output("nvdisasm", "-c", file.name)
    registers, stack = (int(re.findall(rf"{name}:(\d+)", usage)[-1]) for name in ("REG", "STACK"))
    return Compiled(
        registers=registers,
        shared=kernel.metadata.shared,
        spills=len(re.findall(r"\b(?:LDL|STL)\b", sass)),
        stack=stack,
        tensor_core="wgmma" if "HGMMA" in sass else "mma" if "HMMA" in sass else "none",
        async_copies="LDGSTS" in sass,
        warp_grid=_warp_grid(kernel.asm["ttgir"]),
    )


def _specialized(launch: Launch) -> tuple[dict[str, str], dict[str, object], dict[tuple[int], list[Any]]]:
    """Return signature, constants and alignment, as Triton derives them from the arguments of a call."""
    signature, constants, attributes = {}, dict(launch.constants), {}
    for index, parameter in enumerate(launch.kernel.params):
        name = parameter.name
        if parameter.is_constexpr:
            signature[name] = "constexpr"
            continue
        value = launch.arguments[name]
        if isinstance(value, torch.Tensor):
            signature[name] = POINTERS[value.dtype]
            attributes[(index,)] = [["tt.divisibility", 16]]
        elif value == 1 and not parameter.do_not_specialize:
            signature[name], constants[name] = "constexpr", 1
        else:
            signature[name] = "i32" if value < 2**31 else "i64"
            if value % 16 == 0 and not parameter.do_not_specialize:
                attributes[(index,)] = [["tt.divisibility", 16]]
    return signature, constants, attributes


def _warp_grid(code: str) -> tuple[int, ...]:
    """Return the layout of tensor-core results in Triton's intermediate code."""
    found = re.search(r"nvidia_mma<\{[^}]*warpsPerCTA = \[([\d, ]+)\]", code)
    return tuple(int(number) for number in found[1].split(",")) if found else ()


def _output(program: str, *arguments: str) -> str:
    return subprocess.run([PROGRAMS / program, *arguments], capture_output=True, text=True, check=True).stdout
