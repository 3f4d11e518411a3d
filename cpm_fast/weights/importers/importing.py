"""`cpm-fast import`: conversion of a foreign weight file to one of ours, with a table of its layers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from cpm_fast.config import NetworkConfig
from cpm_fast.model.cpm import CPM, ReferenceWalk
from cpm_fast.model.files import fill, load_model, save_model
from cpm_fast.model.layers import CPM_STAGE_OUTPUT, parameter_count
from cpm_fast.skeleton import Skeleton
from cpm_fast.weights.fold import folded
from cpm_fast.weights.importers.caffe import read_caffemodel
from cpm_fast.weights.importers.caffe_layouts import map_caffe
from cpm_fast.weights.importers.mapping import Mapping
from cpm_fast.weights.importers.mmpose import map_mmpose
from cpm_fast.weights.importers.state_dict import read_state_dict

# Side in pixels of the picture that an imported network is tried on: the smallest that fills an 8 x 8 map.
TRIAL_SIDE_PX = 64
# Tolerance relative to the largest belief: fp32 sums of up to 15,488 products in another order differ by some 1e-6.
TRIAL_TOLERANCE = 1e-4
CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class ImportReport:
    """The outcome of an import; its text is the output of the command.

    Args:
        source: the file.
        sha256: of its content.
        mapping: of the file's arrays to layers.
        trial: the network's check on a random picture; empty if it could not be filled.
        written: the file made; None if some layer could not be filled.
    """

    source: Path
    sha256: str
    mapping: Mapping
    trial: str = ""
    written: Path | None = None

    @property
    def ok(self) -> bool:
        return self.written is not None

    def __str__(self) -> str:
        config, problems = self.mapping.config, self.mapping.problems
        parts = f"{config.parts} parts ({config.skeleton.name})"
        maps = "centers of subjects" if config.kind == "find" else parts
        unused = ", ".join(self.mapping.unused[:8]) + (" ..." if len(self.mapping.unused) > 8 else "")
        lines = [
            f"file      {self.source}, sha256 {self.sha256}",
            f"network   {self.mapping.layout}: {config.stages} stages, {maps}, box {config.input_size}, "
            f"{parameter_count(config):,} parameters",
            f"input     {describe_input(config)}",
            self.mapping.table(),
            f"filled    {len(self.mapping.rows) - len(problems)} of {len(self.mapping.rows)} convolutions",
            f"unused    {len(self.mapping.unused)} in the file: {unused}"
            if unused
            else "unused    nothing in the file",
        ]
        if self.ok:
            lines += [f"check     {self.trial}", f"wrote {self.written}"]
        else:
            lines.append(f"wrote nothing: {len(problems)} convolutions do not fit")
        return "\n".join(lines)


def import_weights(
    source: str | Path,
    output: str | Path,
    *,
    preset: str | None = None,
    skeleton: Skeleton | None = None,
    input_size: tuple[int, int] | None = None,
    fold_norm: bool = False,
) -> ImportReport:
    """Make a .safetensors of ours from a Caffe or mmpose file, after trying its network on a random picture.

    Args:
        source: a .caffemodel; any other suffix is read as a checkpoint of mmpose, .safetensors or PyTorch's.
        output: the file to write, .safetensors; nothing is written if a layer can't be filled.
        preset: "cpm6", "flic", "vgg", "person" or "mmpose"; if None, found by the names in the file.
        skeleton: names of the parts; if None, by their number.
        input_size: (height, width) of mmpose's box; if None, mmpose's default for such parts.
        fold_norm: fold batch normalization into the weights; if not, it is kept and can be trained.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file can't be read or its network is not known; the message names the file.
        RuntimeError: the network's beliefs are not finite, or the backends disagree about them.
    """
    source, output = Path(source), Path(output)
    if output.suffix != ".safetensors":
        raise ValueError(f"output must end in .safetensors, got {str(output)!r}")
    if source.suffix == ".caffemodel":
        if input_size is not None or preset == "mmpose":
            raise ValueError("preset mmpose and input_size are for mmpose's checkpoints, not for a .caffemodel")
        blobs = read_caffemodel(source)
        with _naming_content(source):
            mapping = map_caffe(blobs, preset, skeleton)
    else:
        if preset not in (None, "mmpose"):
            raise ValueError(f"preset of a checkpoint must be mmpose, got {preset!r}; {preset} is for a .caffemodel")
        tensors = read_state_dict(source)
        with _naming_content(source):
            mapping = map_mmpose(tensors, skeleton, input_size)
    digest = sha256(source)
    if mapping.problems:
        return ImportReport(source, digest, mapping)
    model = CPM(mapping.config).eval()
    fill(model, mapping.tensors, str(source))
    if fold_norm:
        model = folded(model)
    trial = try_out(model)
    save_model(model, output, about={"source": source.name, "sha256": digest, "layout": mapping.layout})
    load_model(output)
    return ImportReport(source, digest, mapping, trial, output)


@contextmanager
def _naming_content(path: Path) -> Iterator[None]:
    """Put the file's name before errors about its content."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


@torch.no_grad()
def try_out(model: CPM) -> str:
    """Compare a network's beliefs on a random picture by the current backend and by the reference, in words.

    Raises:
        RuntimeError: they are not finite, or the two disagree.
    """
    crops = torch.rand(1, 3, TRIAL_SIDE_PX, TRIAL_SIDE_PX, generator=torch.Generator().manual_seed(0)) - 0.5
    found = model(crops)
    maps = model.inputs(crops)
    ReferenceWalk(model).over(model.layers, maps)
    wanted = [maps[CPM_STAGE_OUTPUT.format(stage)] for stage in range(1, model.config.stages + 1)]
    largest = max(float(maps.abs().max()) for maps in wanted)
    if not all(bool(maps.isfinite().all()) for maps in (*found, *wanted)):
        raise RuntimeError("the imported network's beliefs on a random picture are not finite: its weights are damaged")
    difference = max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True))
    if difference > TRIAL_TOLERANCE * largest:
        raise RuntimeError(f"the imported network's beliefs differ from the reference's by {difference:.2g}")
    return (
        f"{len(found)} stages of {list(found[-1].shape)} on a random picture: finite, up to {largest:.3g}, "
        f"{difference:.1g} from the reference"
    )


def describe_input(config: NetworkConfig) -> str:
    """Describe a network's input on one line."""
    mean, scale = (", ".join(f"{value:g}" for value in values) for values in (config.pixel_mean, config.pixel_scale))
    center = f"center map sigma {config.center_sigma:g} px" if config.center_map else "no center map"
    return (
        f"{config.color}, (pixel - ({mean})) / ({scale}), outside the image {config.padding_value}, {center}, "
        f"{'with' if config.background else 'no'} background, cell g at pixel 8 g + {config.cell_offset:g}"
    )


def sha256(path: Path) -> str:
    """Return the digest of a file, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()
