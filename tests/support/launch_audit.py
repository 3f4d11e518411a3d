"""Every address that launches access under Triton's interpreter: checked one by one, and counted.

Each tensor of a launch is moved between borders of NaN. An unmasked load or store must access an element of a tensor of
the launch; a load must not read an element that was never written. At the end the borders are unchanged, every element
of a result has been stored once, by one program, and there is no other store. So no two programs of a launch can race,
in any order in which a GPU runs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from triton.runtime import interpreter

from cpm_fast.kernels.launch import Launch

# Elements before and after each tensor: more than any tile reaches beyond a map of the tests.
BORDER = 1 << 14
NOBODY = -1
# Kernel -> arguments that it writes, every element once. An argument that a constant of the launch enables has that
# constant.
RESULTS: dict[str, tuple[str | tuple[str, str], ...]] = {
    "context_conv_forward_kernel": ("y_ptr",),
    "context_conv_dweight_kernel": ("partial_ptr",),
    "context_conv_gate_kernel": ("partial_ptr", ("RELU", "gated_ptr")),
    "context_conv_sum_kernel": ("sum_ptr",),
    "spectral_conv_transform_kernel": ("spectra_ptr", ("SUMS", "sums_ptr")),
    "spectral_conv_product_kernel": ("y_ptr",),
    "spectral_conv_dweight_kernel": ("dweight_ptr",),
    "spectral_conv_inverse_kernel": ("y_ptr",),
}
# Arguments whose every element affects the result, so an element that is never read shows a wrong mask.
READ_WHOLE = {
    "context_conv_forward_kernel": ("x_ptr", "weight_ptr", "bias_ptr"),
    "context_conv_dweight_kernel": ("x_ptr", "dy_ptr"),
    "context_conv_gate_kernel": ("dy_ptr",),
    "context_conv_sum_kernel": ("partial_ptr",),
    "spectral_conv_product_kernel": ("x_ptr", "weight_ptr"),
    # Channels of dy that pad a block to 16 are not read.
    "spectral_conv_dweight_kernel": ("x_ptr",),
}


class Region:
    """A tensor of a launch between two borders, with the accesses to each of its elements.

    Args:
        names: of the arguments that are this tensor.
        tensor: without gaps between its elements.
    """

    def __init__(self, names: list[str], tensor: torch.Tensor) -> None:
        span = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)) + 1
        assert span == tensor.numel(), f"{names[0]} must be packed, got strides {tensor.stride()} of {tensor.shape}"
        self.names, self.original, self.size = names, tensor, tensor.element_size()
        with torch.no_grad():
            self.buffer = torch.full((span + 2 * BORDER,), float("nan"), dtype=tensor.dtype)
            self.inner = self.buffer[BORDER : BORDER + span]
            self.guarded = self.inner.as_strided(tensor.shape, tensor.stride(), BORDER)
            self.guarded.copy_(tensor)
        self.begin = self.inner.data_ptr()
        self.end = self.begin + span * self.size
        self.unwritten = self.inner.isnan().numpy()
        self.reads, self.writes = np.zeros(span, np.int64), np.zeros(span, np.int64)
        self.reader, self.writer = np.full(span, NOBODY), np.full(span, NOBODY)

    def borders_are_whole(self) -> bool:
        return bool(self.buffer[:BORDER].isnan().all() and self.buffer[-BORDER:].isnan().all())


@dataclass
class Record:
    """One launch: bytes that it loaded and stored, by argument, without masked ones."""

    launch: Launch
    loaded: dict[str, int]
    stored: dict[str, int]


@dataclass
class Audit:
    """The launches within `audit`; `regions` are of the launch that runs."""

    records: list[Record] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    kernel: str = ""

    def moved(self) -> Iterator[tuple[Launch, int]]:
        """Return launches, and the bytes that their programs loaded and stored."""
        for record in self.records:
            yield record.launch, sum(record.loaded.values()) + sum(record.stored.values())

    def kernels(self) -> set[str]:
        return {record.launch.kernel.__name__ for record in self.records}

    def elements(self, what: str, pointers: Any, mask: Any) -> Iterator[tuple[Region, np.ndarray]]:
        """Return the elements to which a block of pointers points, by region."""
        chosen = pointers.data.astype(np.int64).ravel()[np.asarray(mask.data, bool).ravel()]
        size = np.dtype(interpreter._get_np_dtype(pointers.get_element_ty())).itemsize
        found = np.zeros(len(chosen), bool)
        for region in self.regions:
            inside = (chosen >= region.begin) & (chosen + size <= region.end)
            if inside.any():
                offsets = chosen[inside] - region.begin
                assert size == region.size and not (offsets % size).any(), self.place(f"{what}s across elements of")
                found |= inside
                yield region, offsets // size
        if not found.all():
            stray = int(chosen[~found][0])
            nearest = min(self.regions, key=lambda region: min(abs(stray - region.begin), abs(stray - region.end)))
            index = (stray - nearest.begin) // nearest.size
            raise AssertionError(self.place(f"{what}s element {index} of {len(nearest.reads)} of {nearest.names[0]}"))

    def place(self, said: str) -> str:
        return f"{self.kernel}, program {program()}, {said}"

    def load(self, pointers: Any, mask: Any) -> None:
        for region, elements in self.elements("load", pointers, mask):
            bad = region.unwritten[elements] & (region.writes[elements] == 0)
            assert not bad.any(), self.place(f"loads {region.names[0]} where nobody has written: {elements[bad][:4]}")
            np.add.at(region.reads, elements, 1)
            region.reader[elements] = program()

    def store(self, pointers: Any, mask: Any) -> None:
        for region, elements in self.elements("store", pointers, mask):
            np.add.at(region.writes, elements, 1)
            region.writer[elements] = program()

    def judge(self, launch: Launch) -> None:
        results = {
            each if isinstance(each, str) else each[1]
            for each in RESULTS[self.kernel]
            if isinstance(each, str) or launch.constants[each[0]]
        }
        for region in self.regions:
            name = region.names[0]
            assert region.borders_are_whole(), f"{self.kernel} writes beside {name}"
            if results.isdisjoint(region.names):
                assert not region.writes.any(), f"{self.kernel} writes its argument {name}"
            else:
                wrong = np.flatnonzero(region.writes != 1)
                assert not len(wrong), (
                    f"{self.kernel} writes element {wrong[0]} of {name} {region.writes[wrong[0]]} times"
                )
                read = region.reads > 0
                assert (region.reader == region.writer)[read].all(), (
                    f"programs of {self.kernel} read each other's {name}"
                )
            if not set(READ_WHOLE.get(self.kernel, ())).isdisjoint(region.names):
                missed = np.flatnonzero(region.reads == 0)
                assert not len(missed), f"{self.kernel} never reads element {missed[0]} of {name}"


def program() -> int:
    return int(interpreter.interpreter_builder.grid_idx[0])


@contextmanager
def audit() -> Iterator[Audit]:
    """Check every launch within the block; the process must have selected the interpreter."""
    found = Audit()
    builder = interpreter.InterpreterBuilder
    run, load, store = Launch.run, builder.create_masked_load, builder.create_masked_store

    def checked_load(self, ptrs, mask, other, *rest):
        found.load(ptrs, mask)
        return load(self, ptrs, mask, other, *rest)

    def checked_store(self, ptrs, value, mask, *rest):
        found.store(ptrs, mask)
        return store(self, ptrs, value, mask, *rest)

    def checked_run(launch: Launch) -> None:
        by_tensor: dict[int, tuple[list[str], torch.Tensor]] = {}
        for name, value in launch.arguments.items():
            if isinstance(value, torch.Tensor):
                by_tensor.setdefault(id(value), ([], value))[0].append(name)
        regions = [Region(names, tensor) for names, tensor in by_tensor.values()]
        moved = {name: region.guarded for region in regions for name in region.names}
        found.regions, found.kernel = regions, launch.kernel.__name__
        run(replace(launch, arguments={**launch.arguments, **moved}))
        found.judge(launch)
        for region in regions:
            if region.writes.any():
                region.original.copy_(region.guarded)
        loaded = {region.names[0]: int(region.reads.sum()) * region.size for region in regions}
        stored = {region.names[0]: int(region.writes.sum()) * region.size for region in regions}
        found.records.append(Record(launch, loaded, stored))

    Launch.run, builder.create_masked_load, builder.create_masked_store = checked_run, checked_load, checked_store  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Launch.run, builder.create_masked_load, builder.create_masked_store = run, load, store  # type: ignore[method-assign]
