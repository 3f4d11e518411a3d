"""The launches of later steps, found by running their code on tensors that have sizes but no memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from unittest import mock

import torch

from benchmarks.gpu.contests.sizes import NETWORKS, PARITY, TRAINING
from benchmarks.gpu.tuning import forms, tile_table
from benchmarks.gpu.tuning.plan_table import INFERENCE, MODES, convolutions, shapes
from benchmarks.gpu.tuning.plan_table import TRAINING as PLANNED_TRAINING
from benchmarks.studies.compiled import Key, launch_key
from cpm_fast.kernels import context_conv as direct
from cpm_fast.kernels import plans
from cpm_fast.kernels import spectral_conv as spectral
from cpm_fast.kernels.launch import Launch
from cpm_fast.ops.plans.cpu import ConvShape
from cpm_fast.ops.plans.cuda import DTYPES, choose_cuda_tile
from support.cases import ConvCase
from support.gpu_cases import CORE_CASES, REAL_CASES, SPECTRAL_CASES

# The modes of autograd's op; float32 has PyTorch's default.
TRAINED_MODES = ("tf32", "fp16", "bf16")


@dataclass(frozen=True)
class Convolution:
    """A convolution in a form: None is direct, a number the tile of the spectral one.

    Args:
        backward: adds the gradients.
        block: a key and a block that take the place of the plan's.
    """

    shape: ConvShape
    form: int | None
    mode: str
    relu: bool = True
    backward: bool = True
    block: tuple[plans.BlockKey, plans.Tile] | None = None

    def run(self, capability: int) -> None:
        """Call the kernels' functions as a step does."""
        if self.block is None:
            self._run(capability)
            return
        before = plans.use_measured_blocks(dict([self.block]))
        try:
            self._run(capability)
        finally:
            plans.use_measured_blocks(before)

    def _run(self, capability: int) -> None:
        shape, mode, every = self.shape, self.mode, (True, True, True)

        def tensor(*sizes: int) -> torch.Tensor:
            return torch.empty(sizes, dtype=DTYPES[mode], device="meta")

        x, dy = (tensor(shape.images, channels, *shape.size) for channels in (shape.inputs, shape.outputs))
        weight, bias = tensor(shape.outputs, shape.inputs, shape.kernel, shape.kernel), tensor(shape.outputs)
        if self.form is None:
            y = direct.forward(x, weight, bias, self.relu, mode, capability)
            if self.backward:
                direct.backward(dy, x, weight, y if self.relu else None, every, mode, capability)
            return
        spectra = spectral.transform_weight(weight, self.form, False, spectral.FORWARD_SPECTRA[mode], mode)
        y = spectral.forward(x, spectra, bias, self.relu, shape.kernel, mode, capability)
        if self.backward:
            spectral.backward(dy, x, weight, y if self.relu else None, every, self.form, mode, capability)


def launches_of(wanted: Iterable[Convolution], capability: int) -> dict[Key, Launch]:
    """Return one launch of each compiled kernel."""
    found: dict[Key, Launch] = {}

    def keep(launch: Launch) -> None:
        found.setdefault(launch_key(launch, capability), launch)

    with mock.patch.object(Launch, "run", keep):
        for convolution in wanted:
            convolution.run(capability)
    return found


def by_step(capability: int) -> dict[str, dict[str, Iterator[Convolution]]]:
    """Return, per compiling step, convolutions by the step that needs them first, in the order of the steps."""
    return {
        "compile": {"core-tests": core(), "networks": networks(), "tests": real(), "training": trained()},
        "compile-plan": {"plan": planned(), "tiles": tiled(capability)},
    }


def core() -> Iterator[Convolution]:
    for case in CORE_CASES:
        yield from trained_case(case, ("tf32", "bf16"))
    for case, tile in SPECTRAL_CASES:
        if "core" in case.name:
            for mode in plans.MODES:
                yield Convolution(shape_of(case), tile, mode, case.relu)


def networks() -> Iterator[Convolution]:
    for mode in MODES:
        for name, batch in (*NETWORKS["cuda"], *PARITY["cuda"]):
            for shape in convolutions(name, batch, joined=True):
                yield Convolution(shape, choose_cuda_tile(shape, mode), mode, backward=False)


def real() -> Iterator[Convolution]:
    for case in REAL_CASES:
        yield from trained_case(case, TRAINED_MODES)
    for case, tile in SPECTRAL_CASES:
        for mode in plans.MODES:
            yield Convolution(shape_of(case), tile, mode, case.relu)


def trained() -> Iterator[Convolution]:
    for mode in MODES:
        for name, batch in TRAINING["cuda"]:
            for shape in convolutions(name, batch, joined=False):
                yield Convolution(shape, choose_cuda_tile(shape, mode, training=True), mode)


def planned() -> Iterator[Convolution]:
    """Return every form that the plan tries, in its order."""
    for mode in MODES:
        for training, measured in ((False, INFERENCE), (True, PLANNED_TRAINING)):
            for name, batch in measured:
                for shape in shapes(name, batch, joined=not training):
                    for form in forms.candidates(shape, mode, training):
                        yield Convolution(shape, form, mode, backward=training)


def tiled(capability: int) -> Iterator[Convolution]:
    """Return every block that is tried for the longest kernels, in that step's order."""
    for shape, tile, mode in tile_table.kernels("cuda"):
        key = tile_table.key_of(shape, tile, mode)
        for block in tile_table.blocks_of(shape, tile, mode, capability):
            yield Convolution(shape, tile, mode, backward=False, block=(key, block))


def trained_case(case: ConvCase, modes: Iterable[str]) -> Iterator[Convolution]:
    shape = shape_of(case)
    for mode in modes:
        yield Convolution(shape, choose_cuda_tile(shape, mode, training=True), mode, case.relu)


def shape_of(case: ConvCase) -> ConvShape:
    return ConvShape(case.images, case.in_channels, case.out_channels, case.kernel, case.size)
