"""`find`: who is where, without their parts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from tqdm import tqdm

from cpm_fast.engine import Engine
from cpm_fast.inference.search import Search
from cpm_fast.inference.settings import Settings, find_network
from cpm_fast.media.image import MAX_PIXELS
from cpm_fast.media.sources import list_images
from cpm_fast.model.cpm import CPM
from cpm_fast.roi import Roi
from cpm_fast.system.progress import bar_wanted

PROGRESS_FROM_IMAGES = 4


def find(
    images: Any,
    *,
    model: CPM | str | Path | None = None,
    max_subjects: int | None = None,
    min_find_score: float = 0.3,
    batch: int = 16,
    device: str | torch.device = "auto",
    color: Literal["bgr", "rgb"] = "bgr",
    threads: int | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: bool | None = None,
) -> list[list[Roi]]:
    """Find the subjects of every image, as regions for `infer(images, rois=...)`.

    The pose network looks for subjects of all sizes itself, as `infer(..., find="search")` does.

    Args:
        images, model, batch, device, color, threads, max_pixels: as for `infer`.
        max_subjects: the most per image, the surest first; all if not given.
        min_find_score: the least mean height of a subject's peaks.
        progress: whether to show a bar; if not given, for more than a few images on a terminal.

    Returns:
        One list of regions per image, in order; an empty one where nobody was found, or, with a warning, where a file
        of several can't be read.

    Raises:
        ValueError, TypeError, FileNotFoundError, RuntimeError: as `infer`.

    Examples:
        >>> import numpy as np
        >>> import cpm_fast
        >>> cpm_fast.find(np.zeros((48, 64, 3), np.uint8), model="compact-drawn")
        [[]]
    """
    search, settings = Search(max_subjects, min_find_score), Settings(batch=batch, threads=threads)
    sources, several = list_images(images, color, max_pixels)
    engine = Engine(find_network(model, device), frozen=not isinstance(model, CPM))
    show = bar_wanted(progress, len(sources), PROGRESS_FROM_IMAGES)
    found: list[list[Roi]] = []
    for source in tqdm(sources, desc="find", unit="image", disable=not show):
        try:
            found.append(search.regions(engine, settings, source.read()))
        except (OSError, ValueError) as error:
            if not (several and isinstance(source.item, Path)):
                raise
            warnings.warn(f"left out {error}", stacklevel=2)
            found.append([])
    return found
