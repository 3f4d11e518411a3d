"""Checks of an engine before a call: whether weights have changed, the model is as it was built, tracing is on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import nn
from torch.nn.modules import module as torch_modules

from cpm_fast.model.cpm import CPM, ContextConv
from cpm_fast.ops.checksum import checksum
from cpm_fast.ops.memory import check_memory

_MODES = torch._C._TorchDispatchModeKey
# Modes under which operations make a graph or shapes, not values.
TRACING_MODES = (_MODES.FAKE, _MODES.PROXY, _MODES.FUNCTIONAL)
# Integers of a size, by which values on a GPU are compared bit by bit.
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


Given = ParamSpec("Given")
Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The state of a model's weights.

    Args:
        settings: shapes and types of all tensors, and the constants of normalizations.
        places: (address, version) of the tensors on other devices than the CPU.
        sum: the checksum of the tensors on the CPU.
        copies: of the others.
    """

    settings: tuple[object, ...]
    places: tuple[tuple[int, int], ...]
    sum: int
    copies: tuple[torch.Tensor, ...]


def fingerprint(model: CPM, before: Fingerprint | None) -> Fingerprint:
    """Return the present state: `before` itself where nothing has changed, in whatever way.

    Values on the CPU are summed natively. Those on a GPU are compared with copies, and the result is waited for; while
    a CUDA graph is captured, which allows no waiting, only addresses and PyTorch's versions are compared.
    """
    tensors = list(_tensors(model))
    settings: tuple[object, ...] = tuple(
        (tensor.shape, tensor.stride(), tensor.dtype, tensor.device) for tensor in tensors
    )
    settings += tuple(norm.eps for norm in _norms(model))
    here = [tensor for tensor in tensors if tensor.device.type == "cpu"]
    away = [tensor.detach() for tensor in tensors if tensor.device.type != "cpu"]
    places = tuple((tensor.data_ptr(), tensor._version) for tensor in away)
    total = checksum(here)
    if (
        before is not None
        and (settings, places, total) == (before.settings, before.places, before.sum)
        and (not away or torch.cuda.is_current_stream_capturing() or _equal(away, before.copies))
    ):
        return before
    return Fingerprint(settings, places, total, tuple(tensor.clone() for tensor in away))


def odd(model: CPM) -> str | None:
    """Return what keeps a model from being run by its layer list; None if nothing does."""
    if torch_modules._global_forward_hooks or torch_modules._global_forward_pre_hooks:
        return "forward hooks on all modules"
    if getattr(model.forward, "__func__", None) is not CPM.forward:
        return "a forward of its own"
    relu = {layer.name: layer.relu for layer in model.layers if layer.kind == "conv"}
    modules: list[tuple[str, nn.Module, object]] = [("the model", model, CPM.forward)]
    modules.append(("convs", model.convs, nn.ModuleDict.forward))
    for name, conv in model.convs._modules.items():
        if not isinstance(conv, ContextConv) or conv.relu != relu.get(name):
            return f"another layer {name} than it was built with"
        modules.append((name, conv, ContextConv.forward))
        norm = conv.norm
        if norm is not None:
            if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.weight is None:
                return f"another normalization in {name} than it was built with"
            modules.append((f"{name}.norm", norm, nn.BatchNorm2d.forward))
    for name, module, forward in modules:
        if module._forward_hooks or module._forward_pre_hooks:
            return f"forward hooks on {name}"
        if type(module).forward is not forward or "forward" in module.__dict__:
            return f"another forward in {name} than it was built with"
    return None


def check_eager(crops: torch.Tensor, center_map: torch.Tensor | None) -> None:
    """Raise RuntimeError if a call would be traced or transformed, which native code does not support.

    State prepared then would belong to the trace, and the output of native code would be missing from it.
    """
    reason = None
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        reason = "torch.jit.trace"
    elif torch._C._functorch.peek_interpreter_stack() is not None:
        reason = "a functional transform (vmap, grad, jvp, functionalize)"
    elif any(torch._C._get_dispatch_mode(mode) is not None for mode in TRACING_MODES):
        reason = "a tracing mode (fake tensors, make_fx, torch.export)"
    if reason is not None:
        raise RuntimeError(f"an Engine can't be called under {reason}: trace or transform the model itself")
    for name, tensor in (("crops", crops), ("center_map", center_map)):
        if tensor is not None:
            check_memory(name, tensor)


def outside_graphs(call: Callable[Given, Found]) -> Callable[Given, Found]:
    """Let torch.compile leave a function out of its graphs, with all that it calls.

    `torch.compiler.disable` does the same, but importing the compiler takes a second: state prepared while tracing
    would be lost with the trace.
    """

    @wraps(call)
    def plainly(*given: Given.args, **named: Given.kwargs) -> Found:
        before = torch._C._dynamo.eval_frame.set_eval_frame(None)
        try:
            return call(*given, **named)
        finally:
            torch._C._dynamo.eval_frame.set_eval_frame(before)

    frames = torch._C._dynamo.eval_frame
    skipped = frames._FrameExecStrategy(frames._FrameAction.SKIP, frames._FrameAction.DEFAULT)
    frames.set_code_exec_strategy(plainly.__code__, skipped)  # type: ignore[attr-defined]
    plainly._torchdynamo_disable = True  # type: ignore[attr-defined]
    return plainly


def check_not_capturing(device: torch.device, until: str) -> None:
    """Raise RuntimeError while a CUDA graph is captured: tensors made then have no values before a replay."""
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise RuntimeError(f"an Engine can't be captured in a CUDA graph before {until}: call it once with this shape")


def _tensors(model: CPM) -> Iterator[torch.Tensor]:
    waiting: list[nn.Module] = [model]
    # As `parameters` and `buffers` would, which take longer than a small network's first layers.
    while waiting:
        module = waiting.pop()
        waiting.extend(child for child in module._modules.values() if child is not None)
        for tensors in (module._parameters, module._buffers):
            yield from (tensor for tensor in tensors.values() if tensor is not None)


def _norms(model: CPM) -> Iterator[nn.BatchNorm2d]:
    return (conv.norm for conv in model.convs._modules.values() if conv is not None and conv.norm is not None)  # type: ignore[misc]


def _equal(tensors: list[torch.Tensor], copies: tuple[torch.Tensor, ...]) -> bool:
    """Return whether all values are the same, bit by bit, with one wait for a device."""
    if len(tensors) != len(copies):
        return False
    changed: dict[torch.device, torch.Tensor] = {}
    for tensor, copy in zip(tensors, copies, strict=True):
        integers = _INTEGERS[tensor.element_size()]
        differs = (tensor.view(integers) != copy.view(integers)).any()
        changed[tensor.device] = changed[tensor.device] | differs if tensor.device in changed else differs
    return not any(bool(each) for each in changed.values())
