"""Fine-tuning: start from the weights of another network, as far as they fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from cpm_fast.config import NetworkConfig
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import network_config, read_tensors
from cpm_fast.model.layers import CPM_STAGE_OUTPUT, Layer
from cpm_fast.weights.state_dict import read_state_dict
from cpm_fast.weights.vgg import fill_trunk, used_tensors


@dataclass(frozen=True)
class Loaded:
    """What became of every layer with weights.

    Args:
        source: the file.
        layers: (layer, numbers in it, "loaded" or why it starts anew).
        unused: tensors of the file that have no place.
    """

    source: str
    layers: tuple[tuple[str, int, str], ...]
    unused: tuple[str, ...]

    def table(self) -> str:
        """One line a layer, then the sums."""
        width = max(len(name) for name, _, _ in self.layers)
        lines = [f"{name:{width}}  {numbers:>10,}  {fate}" for name, numbers, fate in self.layers]
        loaded = sum(numbers for _, numbers, fate in self.layers if fate == LOADED)
        total = sum(numbers for _, numbers, _ in self.layers)
        lines.append(f"{loaded:,} of {total:,} numbers from {self.source}; {len(self.unused)} of its tensors not used")
        return "\n".join(lines)


LOADED = "loaded"
FIRST_OF_VGG = "features.0.weight"


def start_from(model: CPM, path: str | Path) -> Loaded:
    """Put what fits of a file's weights into a network; a layer is loaded whole or starts anew.

    Where the parts differ, by name or order, the belief layers and the layers that read beliefs start anew. From
    torchvision's VGG-19 the leading convolutions of the trunk are filled (`weights.vgg.init_trunk`).

    Args:
        model: changed in place.
        path: .safetensors of ours, or VGG-19 as .safetensors or any other suffix of PyTorch's files.

    Raises:
        FileNotFoundError: no such file.
        ValueError: neither weights of ours nor VGG-19, or nothing of them fits; the message names the file.
    """
    if not _is_ours(Path(path)):
        return _start_from_vgg(model, Path(path))
    tensors, metadata = read_tensors(path, "network")
    theirs = network_config(path, metadata)
    wanted = model.state_dict()
    rows = []
    used: set[str] = set()
    kept: dict[str, torch.Tensor] = {}
    for layer in (layer for layer in model.layers if layer.kind == "conv"):
        names = [name for name in wanted if name.startswith(f"convs.{layer.name}.")]
        fate = _fate(layer, names, wanted, tensors, theirs, model.config)
        if fate == LOADED:
            used.update(names)
            kept |= {name: tensors[name] for name in names}
        rows.append((layer.name, sum(wanted[name].numel() for name in names), fate))
    if not used:
        raise ValueError(f"{path}: none of its layers fits the network; the first: {rows[0][0]} is {rows[0][2]}")
    model.load_state_dict({**wanted, **kept})
    return Loaded(str(path), tuple(rows), tuple(name for name in tensors if name not in used))


def _is_ours(path: Path) -> bool:
    """Whether a file is to be read as one of ours: what is no .safetensors is not, nor is one with VGG-19's names."""
    if path.suffix != ".safetensors" or not path.is_file():
        return path.suffix == ".safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            return FIRST_OF_VGG not in file.keys()  # noqa: SIM118
    except (SafetensorError, OSError):
        return True


def _start_from_vgg(model: CPM, path: Path) -> Loaded:
    tensors = read_state_dict(path)
    filled = fill_trunk(model, tensors, path)
    wanted = model.state_dict()
    rows = []
    for layer in (layer for layer in model.layers if layer.kind == "conv"):
        numbers = sum(wanted[name].numel() for name in wanted if name.startswith(f"convs.{layer.name}."))
        rows.append((layer.name, numbers, LOADED if layer.name in filled else "new: not of VGG-19"))
    used = used_tensors(filled)
    return Loaded(str(path), tuple(rows), tuple(name for name in tensors if name not in used))


def _fate(
    layer: Layer,
    names: list[str],
    wanted: dict[str, torch.Tensor],
    tensors: dict[str, torch.Tensor],
    theirs: NetworkConfig,
    ours: NetworkConfig,
) -> str:
    other_maps = theirs.skeleton.names != ours.skeleton.names or theirs.background != ours.background
    if other_maps and layer.name == CPM_STAGE_OUTPUT.format(layer.stage):
        return "new: other parts"
    if layer.stage > 1 and layer.inputs == (f"stage{layer.stage}_concat",):
        if other_maps:
            return "new: reads beliefs of other parts"
        if (theirs.concat, theirs.center_map) != (ours.concat, ours.center_map):
            return "new: reads another concatenation"
    for name in names:
        if name not in tensors:
            return "new: not in the file"
        if tensors[name].shape != wanted[name].shape:
            return f"new: {list(wanted[name].shape)} here, {list(tensors[name].shape)} in the file"
    return LOADED
