"""Step: measure every form of every convolution, for the table that `cpm_fast.ops.plans.cuda` reads for this chip."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.gpu.tuning import forms
from benchmarks.gpu.tuning.tried import tried
from benchmarks.gpu.visit.cases import Case, Rows, Values, need_device
from cpm_fast.config import preset
from cpm_fast.model.groups import layer_groups
from cpm_fast.model.layers import network_layers
from cpm_fast.ops.plans.cpu import ConvShape
from cpm_fast.ops.plans.cuda import choose_cuda_tile

MODES = ("bf16", "tf32x3", "tf32")
# (preset, batch): with weights transformed beforehand, and as in training.
INFERENCE, TRAINING = (("cpm6", 32), ("cpm6", 1), ("compact", 32), ("compact", 1)), (("cpm6", 16), ("compact", 32))
REHEARSED = (ConvShape(2, 3, 4, 9, (24, 24)), ConvShape(1, 4, 4, 5, (16, 16)))
REHEARSED_FORMS = (None, 16, 20)
DIRECT = "direct"


def cases(step: str, device: str, rows: Rows) -> Iterator[Case]:
    need_device(device)
    if device == "cpu":
        wanted = [(shape, mode, training) for training in (False, True) for mode in MODES[:2] for shape in REHEARSED]
    else:
        wanted = [
            (shape, mode, training)
            for mode in MODES
            for training, networks in ((False, INFERENCE), (True, TRAINING))
            for name, batch in networks
            for shape in shapes(name, batch, joined=not training)
        ]
    for shape, mode, training in dict.fromkeys(wanted):
        yield Case(name_of(shape, mode, training), partial(measured, shape, mode, training, device))


def shapes(name: str, batch: int, joined: bool) -> list[ConvShape]:
    """Return a network's convolutions wider than one cell, most work first."""
    return [shape for shape in convolutions(name, batch, joined) if shape.kernel > 1]


def convolutions(name: str, batch: int, joined: bool) -> list[ConvShape]:
    """Return a network's convolutions, most work first; joined as an engine does, or each alone."""
    layers = tuple(network_layers(preset(name)))
    if joined:
        convs = [(group.first, group.channels) for group in layer_groups(layers) if group.first.kind == "conv"]
    else:
        convs = [(layer, layer.channels) for layer in layers if layer.kind == "conv"]
    found = {ConvShape(batch, layer.in_channels, out, layer.kernel, layer.size): layer.macs for layer, out in convs}
    return sorted(found, key=lambda shape: -found[shape])


def name_of(shape: ConvShape, mode: str, training: bool) -> str:
    sizes = f"{shape.kernel}x{shape.kernel} {shape.inputs}->{shape.outputs} @{shape.size[0]}x{shape.size[1]}"
    return f"{sizes} x{shape.images} {mode}{' training' if training else ''}"


def measured(shape: ConvShape, mode: str, training: bool, device: str) -> Values:
    capability = capability_of(device)
    inputs = forms.Inputs.draw(shape, mode, device)
    make = forms.with_gradients if training else forms.forward
    variants = {
        DIRECT if form is None else str(form): partial(make, inputs, form, mode, capability)
        for form in (REHEARSED_FORMS if capability is None else forms.candidates(shape, mode, training))
    }
    chosen = choose_cuda_tile(shape, mode, training)
    return {
        "convolution": {
            "images": shape.images,
            "inputs": shape.inputs,
            "outputs": shape.outputs,
            "kernel": shape.kernel,
            "size": list(shape.size),
            "mode": mode,
            "training": training,
        },
        "chosen_so_far": DIRECT if chosen is None else str(chosen),
        **tried(variants, mode, device),
    }


def capability_of(device: str) -> int | None:
    """Return 80, 90 and so on; None on the CPU."""
    if device == "cpu":
        return None
    major, minor = torch.cuda.get_device_capability()
    return 10 * major + minor
