"""`cpm-fast export`: a network for other runtimes, compared with PyTorch before it is written."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

from cpm_fast.model.cpm import CPM
from cpm_fast.reference.peaks import peaks
from cpm_fast.system.files import atomic_write
from cpm_fast.system.installation import install_command
from cpm_fast.system.numbers import is_whole
from cpm_fast.weights.exporters.portable import INPUT, Portable
from cpm_fast.weights.importers.importing import describe_input

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# One batch size is traced and others are checked: a faulty trace would fix the traced size.
TRACED_BATCH, CHECKED_BATCHES = 2, (1, 3)
# Tolerance relative to the largest belief, or to 1, the height of a peak in training, if that is more.
BELIEF_TOLERANCE = 1e-4
# The same for half precision, whose numbers have 11 bits, and whose errors add up over the layers.
HALF_TOLERANCE = 2e-2
POINT_TOLERANCE_PX = 0.1
# Opsets that PyTorch's exporter writes.
OPSETS = range(18, 24)

Run = Callable[[torch.Tensor], Sequence[torch.Tensor]]


def export_model(
    model: CPM, path: str | Path, *, decode: bool = False, opset: int | None = None, half: bool = False
) -> str:
    """Write a network as ONNX or as a torch.export program, for any number of crops of its configured size.

    The file takes normalized crops [N, 3, H, W] (its metadata `network` is the config, with color order, mean and
    scale) with the subject in their middle, and returns the last stage's `beliefs` [N, P+1, h, w]. Before it is written
    it is run on random crops and compared with the network in PyTorch.

    Args:
        model: the network.
        path: ends in .onnx or .pt2.
        decode: return `parts_box` [N, P, 2], (x, y) pixels of the box, and `scores` [N, P] in place of beliefs.
        opset: version of ONNX's operations; PyTorch's own if not given.
        half: ONNX with weights and arithmetic in half precision; crops and beliefs stay float32. Not with `decode`, as
            half precision has steps of a quarter pixel in a box of 368.

    Returns:
        The compared outputs and how closely they agree, in words.

    Raises:
        ValueError: the suffix is another, options do not go together, or a finder is to be decoded.
        RuntimeError: packages are missing, or the file's outputs differ; nothing is written.
    """
    suffix = Path(path).suffix
    if suffix not in (".onnx", ".pt2"):
        raise ValueError(f"path must end in .onnx or .pt2, got {str(path)!r}")
    if suffix != ".onnx" and (half or opset is not None):
        raise ValueError(f"opset and half (--fp16) are for .onnx, got {str(path)!r}")
    if half and decode:
        raise ValueError("half (--fp16) must come without decode: key points need steps below a quarter pixel")
    if decode and model.config.kind == "find":
        raise ValueError("decode (--decode) is for networks that locate parts, got a finder: its maps have many peaks")
    if opset is not None and not (is_whole(opset) and opset in OPSETS):
        raise ValueError(f"opset must be from {OPSETS[0]} to {OPSETS[-1]}, got {opset!r}")
    network = Portable(model, decode)
    about = {"network": json.dumps(model.config.to_dict()), "input": describe_input(model.config)}
    with torch.no_grad(), _quiet():
        content, run = _onnx(network, about, opset, half) if suffix == ".onnx" else _program(network, about)
        agreement = _compare(network, run, HALF_TOLERANCE if half else BELIEF_TOLERANCE)
    with atomic_write(path) as file:
        file.write(content)
    return agreement


def _onnx(network: Portable, about: dict[str, str], opset: int | None, half: bool) -> tuple[bytes, Run]:
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise RuntimeError(f"ONNX needs {', '.join(missing)}; type: {install_command('export')}")
    import onnxruntime

    program = torch.onnx.export(
        network,
        (_crops(network, TRACED_BATCH),),
        dynamo=True,
        verbose=False,
        input_names=[INPUT],
        output_names=network.outputs,
        dynamic_shapes=_any_batch(),
        opset_version=opset,
    )
    assert program is not None
    proto = program.model_proto
    if half:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        proto = convert_float_to_float16(proto, keep_io_types=True)
    for key, text in about.items():
        proto.metadata_props.add(key=key, value=text)
    content = proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(crops: torch.Tensor) -> list[torch.Tensor]:
        return [torch.from_numpy(array) for array in session.run(None, {INPUT: crops.numpy()})]

    return content, run


def _program(network: Portable, about: dict[str, str]) -> tuple[bytes, Run]:
    program = torch.export.export(network, (_crops(network, TRACED_BATCH),), dynamic_shapes=_any_batch())
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files=about)
    buffer.seek(0)
    loaded = torch.export.load(buffer).module()

    def run(crops: torch.Tensor) -> Sequence[torch.Tensor]:
        found = loaded(crops)
        return [found] if isinstance(found, torch.Tensor) else found

    return buffer.getvalue(), run


def _any_batch() -> dict[str, dict[int, object]]:
    return {INPUT: {0: torch.export.Dim("N", min=1)}}


def _crops(network: Portable, batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.rand(batch, 3, *network.config.input_size, generator=generator) - 0.5


def _compare(network: Portable, run: Run, tolerance: float = BELIEF_TOLERANCE) -> str:
    """Compare the exported outputs on random crops with PyTorch's.

    Raises:
        RuntimeError: they differ by more than the tolerances.
    """
    worst, worst_px = 0.0, 0.0
    for batch in tqdm(CHECKED_BATCHES, desc="check", unit="batch", leave=False):
        crops = _crops(network, batch)
        beliefs = network.model(crops)[-1]
        height = max(float(beliefs.abs().max()), 1.0)
        if network.decode:
            merged = network.merged(beliefs)
            points, scores = peaks(merged, True)
            found_points, found_scores = run(crops)
            worst = max(worst, _largest(found_scores - scores) / height)
            # If two peaks are equally high, either is right.
            distance = (found_points - points).norm(dim=-1)
            as_high = _value(merged, found_points) >= scores - BELIEF_TOLERANCE * height
            worst_px = max(worst_px, _largest(distance.where(~(as_high & distance.isfinite()), 0)))
        else:
            (found,) = run(crops)
            worst = max(worst, _largest(found - beliefs) / height)
    if not (worst <= tolerance and worst_px <= POINT_TOLERANCE_PX):
        raise RuntimeError(
            f"the exported network differs from PyTorch's: by {worst:.2g}, key points by {worst_px:.2g} px"
        )
    points_too = f", key points within {POINT_TOLERANCE_PX} px" if network.decode else ""
    return f"equals PyTorch to {worst:.1g} of the largest belief{points_too}, on batches of {CHECKED_BATCHES}"


def _largest(differences: torch.Tensor) -> float:
    """Return the largest difference; infinite if a value is NaN, which no comparison would notice."""
    return float(differences.abs().nan_to_num(nan=torch.inf).max())


def _value(maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Return maps [N, P, H, W] at the pixels nearest to points [N, P, 2]: [N, P]."""
    x, y = points.round().long().unbind(-1)
    at = y.clamp(0, maps.shape[2] - 1) * maps.shape[3] + x.clamp(0, maps.shape[3] - 1)
    return maps.flatten(2).gather(2, at[..., None])[..., 0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the messages of PyTorch's exporters about packages they could use and their own deprecated calls."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
