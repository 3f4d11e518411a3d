"""Fine-tuning: start from the weights of another network, as far as they fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from cpm_fast.config import NetworkConfig
from cpm_fast.model.cpm import CPM
from cpm_fast.model.grow import grown, grows, origins, silenced, sums
from cpm_fast.model.layers import CPM_STAGE_OUTPUT, Layer
from cpm_fast.model.tensor_file import network_config, read_tensors, refuse_checkpoint
from cpm_fast.system.files import utf8_path
from cpm_fast.weights.importers.state_dict import read_state_dict
from cpm_fast.weights.importers.vgg import fill_trunk, used_tensors


@dataclass(frozen=True)
class Loaded:
    """The outcome of loading, for every layer with weights.

    Args:
        source: the file.
        layers: (layer, numbers in it, "loaded", its origin if it grew, or the reason if it starts anew).
        taken: count of the numbers that came from the file.
        unused: tensors of the file that have no place.
    """

    source: str
    layers: tuple[tuple[str, int, str], ...]
    taken: int
    unused: tuple[str, ...]

    def check_whole(self, frozen: Collection[str]) -> None:
        """Refuse to freeze layers that did not come from the file as they are.

        Raises:
            ValueError: one of them starts anew or has grown.
        """
        for name, _, fate in self.layers:
            if name in frozen and fate != LOADED:
                raise ValueError(
                    f"{self.source}: must have the trunk's first layers, which the recipe freezes, got {name}: {fate}; "
                    "choose a recipe without frozen_blocks"
                )

    def table(self) -> str:
        """Return one line per layer, then the sums."""
        width = max(len(name) for name, _, _ in self.layers)
        lines = [f"{name:{width}}  {numbers:>10,}  {fate}" for name, numbers, fate in self.layers]
        total = sum(numbers for _, numbers, _ in self.layers)
        lines.append(
            f"{self.taken:,} of {total:,} numbers from {self.source}; {len(self.unused)} of its tensors not used"
        )
        return "\n".join(lines)


LOADED = "loaded"
NEW = "new: "
BLOCK = f"{NEW}a residual block that adds nothing at first"
FIRST_OF_VGG = "features.0.weight"


def start_from(model: CPM, path: str | Path) -> Loaded:
    """Load the weights of a file that fit into a network; a layer is loaded whole, grows, or starts anew.

    A network that is wider or has more stages or residual blocks than the file's grows from it (`model.grow`). If the
    parts differ, by name or order, the belief layers and the layers that read beliefs start anew. From torchvision's
    VGG-19 the leading convolutions of the trunk are filled (`weights.vgg.init_trunk`).

    Args:
        model: changed in place.
        path: .safetensors of ours, or VGG-19 as .safetensors or any other suffix of PyTorch's files.

    Raises:
        FileNotFoundError: no such file.
        ValueError: neither weights of ours nor VGG-19, the checkpoint of a training, or none of them fits; the message
            names the file.
    """
    if not _is_ours(Path(path)):
        return _start_from_vgg(model, Path(path))
    tensors, metadata = read_tensors(path, "network")
    refuse_checkpoint(path, metadata)
    theirs = network_config(path, metadata)
    wanted = model.state_dict()
    start_of = origins(model.config, theirs)
    adds = sums(model.config)
    rows, taken = [], 0
    used: set[str] = set()
    kept: dict[str, torch.Tensor] = {}
    for layer in (layer for layer in model.layers if layer.kind == "conv"):
        start, own = start_of[layer.name], _of_layer(wanted, layer.name)
        if start is None:
            fate, whole = BLOCK, silenced(own) if layer.name in adds else own
        else:
            given = _of_layer(tensors, start)
            fate = _fate(layer, start, own, given, theirs, model.config)
            new = fate.startswith(NEW)
            whole = given if fate == LOADED else own if new else grown(layer, start, own, given, model.config, theirs)
            used.update(f"convs.{start}.{name}" for name in own if not new)
            taken += 0 if new else sum(given[name].numel() for name in own)
        kept |= {f"convs.{layer.name}.{name}": whole[name] for name in own}
        rows.append((layer.name, sum(tensor.numel() for tensor in own.values()), fate))
    if not used:
        raise ValueError(f"{path}: none of its layers fits the network; the first: {rows[0][0]} is {rows[0][2]}")
    model.load_state_dict({**wanted, **kept})
    return Loaded(str(path), tuple(rows), taken, tuple(name for name in tensors if name not in used))


def _of_layer(tensors: Mapping[str, torch.Tensor], layer: str) -> dict[str, torch.Tensor]:
    prefix = f"convs.{layer}."
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _is_ours(path: Path) -> bool:
    """Return whether a file is to be read as one of ours: a .safetensors file without VGG-19's names."""
    if path.suffix != ".safetensors" or not path.is_file():
        return path.suffix == ".safetensors"
    try:
        with utf8_path(path) as readable, safe_open(readable, framework="pt") as file:
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
        rows.append((layer.name, numbers, LOADED if layer.name in filled else f"{NEW}not of VGG-19"))
    used = used_tensors(filled)
    taken = sum(numbers for _, numbers, fate in rows if fate == LOADED)
    return Loaded(str(path), tuple(rows), taken, tuple(name for name in tensors if name not in used))


def _fate(
    layer: Layer,
    start: str,
    own: dict[str, torch.Tensor],
    given: dict[str, torch.Tensor],
    theirs: NetworkConfig,
    ours: NetworkConfig,
) -> str:
    other_maps = theirs.skeleton.names != ours.skeleton.names or theirs.background != ours.background
    if other_maps and layer.name == CPM_STAGE_OUTPUT.format(layer.stage):
        return f"{NEW}other parts"
    if layer.stage > 1 and layer.inputs == (f"stage{layer.stage}_concat",):
        if other_maps:
            return f"{NEW}reads beliefs of other parts"
        if (theirs.concat, theirs.center_map) != (ours.concat, ours.center_map):
            return f"{NEW}reads another concatenation"
    if own.keys() - given.keys():
        return f"{NEW}not in the file"
    for name, tensor in own.items():
        if not grows(tensor, given[name]):
            return f"{NEW}{list(tensor.shape)} here, {list(given[name].shape)} in the file"
    if sums(ours).get(layer.name, 0) != sums(theirs).get(start, 0):
        return f"{NEW}adds another map than in the file"
    if own["weight"].shape != given["weight"].shape:
        return f"grown from {start} {list(given['weight'].shape)}"
    return LOADED if start == layer.name else f"as {start}"
