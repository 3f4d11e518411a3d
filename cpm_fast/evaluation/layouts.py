"""Arrays of predictions in other programs' layouts: the meaning of axes, the order of parts, the first pixel."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

from cpm_fast.data.formats.lsp import FILE_ORDER
from cpm_fast.results.formats.plain import texts
from cpm_fast.skeleton import COCO, FLIC, MPII, Skeleton
from cpm_fast.system.words import in_short

# Names of arrays of predictions: in the release of Wei et al. 2016, in toolkits for MPII, in our files.
ARRAY_NAMES = ("prediction_all", "preds", "pred", "predictions", "keypoints", "parts")
# Orders of parts by their number, for files that name none: that of LSP's own file, and of the others' annotation.
FILE_ORDERS = {len(names): names for names in (FILE_ORDER, FLIC.names, MPII.names, COCO.names)}
# Arrays that claim more bytes are not predictions.
MOST_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class PredictedParts:
    """Predictions of a file, in the file's own order.

    Args:
        points: [T, K, p, 2] image pixels, 0-based, NaN where there is none.
        heights: [T, K, p] of the belief peaks, or whatever the file says a score is; NaN where it says nothing.
        names: of the p parts.
        about: the layout, in words.
        images: of the K subjects; None where the file doesn't say, and its order is the dataset's.
        failed: images that the file says could not be read.
        by_number: whether images are the dataset's own numbers of them, as in COCO's results, and no file names.
    """

    points: np.ndarray
    heights: np.ndarray
    names: tuple[str, ...]
    about: str
    images: tuple[str, ...] | None = None
    failed: frozenset[str] = field(default_factory=frozenset)
    by_number: bool = False


def read_npz(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a NumPy archive; nothing is unpickled.

    Raises:
        ValueError: not such a file, or it claims too much memory.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
                raise ValueError(f"its arrays claim more than {MOST_BYTES // 2**20} MiB")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name]) for name in arrays.files}
    except (zipfile.BadZipFile, EOFError, KeyError, OSError, MemoryError, NotImplementedError) as error:
        raise ValueError(f"not a NumPy archive that can be read: {in_short(error)}") from None


def from_arrays(
    arrays: Mapping[str, np.ndarray],
    wanted: Skeleton,
    count: int,
    *,
    order: Sequence[str] | None = None,
    matlab: bool = False,
    first_pixel: float | None = None,
) -> PredictedParts:
    """Read predictions from named arrays.

    The array is one of `ARRAY_NAMES`, or the only one of three or four axes. Lengths identify its axes: parts, 2
    coordinates (a third would be a score) and subjects, as [p, 2, K] (the release), [K, p, 2], [2, p, K] or, with
    stages before them, [T, K, p, 2]. Beside it, `names` are of the parts, `images` of the subjects, `scores` [K, p].

    Args:
        arrays: of the file.
        wanted: the dataset's skeleton.
        count: of its samples, for telling axes of equal lengths.
        order: names of the parts; if None by `names`, or by their number: the dataset's own, or those of `FILE_ORDERS`,
            which in MATLAB's files come first.
        matlab: whether a MATLAB file held them.
        first_pixel: coordinate of the first pixel's center; if None 1 in MATLAB's files, otherwise 0.

    Raises:
        ValueError: no array is of such a form.
    """
    name, values = _choose_array(arrays)
    beside = {key: _texts(arrays, key) for key in ("names", "images")}
    named = tuple(order) if order is not None else beside["names"]
    parts = (len(named),) if named else (*FILE_ORDERS, len(wanted))
    stages, layout = _in_axis_order(values, parts, count, name)
    names = named or order_of(stages.shape[2], wanted, matlab)
    first = float(matlab) if first_pixel is None else first_pixel
    points = stages[..., :2] - first
    heights = stages[..., 2] if stages.shape[3] == 3 else np.full(stages.shape[:3], np.nan)
    scores = arrays.get("scores")
    if scores is not None and scores.dtype.kind in "fiu" and scores.shape == heights.shape[-scores.ndim :]:
        heights = np.broadcast_to(scores, heights.shape)
    images = beside["images"]
    if images is not None and len(images) != stages.shape[1]:
        raise ValueError(f"images must be {stages.shape[1]} names, one per subject, got {len(images)}")
    about = f"{name} {layout}, first pixel {first:g}, parts {order_in_words(names)}"
    return PredictedParts(np.where(np.isfinite(points), points, np.nan), heights, names, about, images)


def _choose_array(arrays: Mapping[str, np.ndarray]) -> tuple[str, np.ndarray]:
    numbers = {name: value for name, value in arrays.items() if value.dtype.kind in "fiu" and value.ndim in (3, 4)}
    named = [name for name in ARRAY_NAMES if name in numbers]
    found = named[:1] or (list(numbers) if len(numbers) == 1 else [])
    if not found:
        shown = {name: list(value.shape) for name, value in list(arrays.items())[:6]}
        raise ValueError(f"must hold an array {', '.join(ARRAY_NAMES)} of parts, coordinates and subjects, got {shown}")
    return found[0], numbers[found[0]].astype(np.float64)


def _in_axis_order(values: np.ndarray, parts: Sequence[int], count: int, name: str) -> tuple[np.ndarray, str]:
    """Return the numbers as [T, K, p, 2 or 3], and their axes in words."""
    shape = values.shape[-3:]
    fitting = []
    for axes in permutations(range(3)):  # which axis is K, p and the coordinates
        subjects, part, coordinate = (shape[axis] for axis in axes)
        if coordinate in (2, 3) and part in parts:
            fitting.append(((subjects != count, coordinate != 2, -axes[2]), axes))
    if not fitting:
        raise ValueError(
            f"{name} must have axes of parts ({' or '.join(str(part) for part in sorted(set(parts)))}), 2 coordinates "
            f"and subjects, as [p, 2, K] or [K, p, 2], got {list(values.shape)}"
        )
    # As many subjects as wanted, 2 coordinates, and those as late as may be.
    fitting.sort()
    if len(fitting) > 1 and fitting[0][0] == fitting[1][0]:
        raise ValueError(f"{name} {list(values.shape)}: parts and subjects can't be told apart")
    axes = fitting[0][1]
    stages = values.reshape(-1, *shape).transpose(0, *(axis + 1 for axis in axes))
    letters = ["", "", ""]
    for axis, letter in zip(axes, ("K", "p", str(shape[axes[2]])), strict=True):
        letters[axis] = letter
    return stages, f"[{', '.join((['T'] if values.ndim == 4 else []) + letters)}] = {list(values.shape)}"


def order_of(parts: int, wanted: Skeleton, theirs_first: bool = False) -> tuple[str, ...]:
    """Name parts that a file doesn't name by their number: as the dataset does, or as usual if they share a part.

    Raises:
        ValueError: there are none for so many.
    """
    usual = FILE_ORDERS.get(parts, ())
    usual = usual if set(usual) & set(wanted.names) else ()
    own = wanted.names if parts == len(wanted) else ()
    names = (usual or own) if theirs_first else (own or usual)
    if not names:
        raise ValueError(
            f"its {parts} parts have no names, and the dataset's are {len(wanted)}: give a skeleton of them"
        )
    return names


def order_in_words(names: Sequence[str]) -> str:
    """Return an order of parts in words."""
    known = {
        FILE_ORDER: "in the order of LSP's file",
        FLIC.names: "in FLIC's order",
        MPII.names: "in MPII's order",
        COCO.names: "in COCO's order",
    }
    return known.get(tuple(names), f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}")


def _texts(arrays: Mapping[str, np.ndarray], key: str) -> tuple[str, ...] | None:
    """Return a list of words that stands beside the numbers."""
    values = arrays.get(key)
    if values is None or values.dtype.kind != "U" or values.ndim == 0:
        return None
    return tuple(texts(values))
