"""`find`: the regions of subjects, without their parts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from cpm_fast.inference.asking import AUTO, SEARCH, Asked
from cpm_fast.inference.pixels import read_to_look, sightings_in
from cpm_fast.inference.settings import Settings, engine_of, find_network
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
    find: Literal["auto", "search"] | bool | CPM | str | Path | Callable[[np.ndarray], Any] = "auto",
    max_subjects: int | None = None,
    min_find_score: float | None = None,
    batch: int = 16,
    device: str | torch.device = "auto",
    precision: str = "auto",
    color: Literal["bgr", "rgb"] = "bgr",
    threads: int | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: bool | None = None,
) -> list[list[Roi]]:
    """Find the subjects of every image, as regions for `infer(images, rois=...)`.

    The finder that belongs to the weights looks for subjects. If they have none, the pose network itself looks for
    subjects of all sizes, as in `infer(..., find="search")`.

    Args:
        images, model, batch, device, precision, color, threads, max_pixels: as for `infer`.
        find: the method, as for `infer`; "auto" is "search" for weights without a finder.
        max_subjects, min_find_score: as for `infer`.
        progress: whether to show a bar; if not given, for more than a few images on a terminal.

    Returns:
        One list of regions per image, in order. It is empty if nobody was found, or, with a warning, if one image of
        several can't be read.

    Raises:
        ValueError, TypeError, FileNotFoundError, RuntimeError: as `infer`.

    Examples:
        >>> import numpy as np
        >>> import cpm_fast
        >>> cpm_fast.find(np.zeros((48, 64, 3), np.uint8), model="compact-drawn")
        [[]]
    """
    if find is False:
        raise ValueError('find must be "auto", "search", a finder or a function, got False, which looks for nobody')
    asked = Asked(find, False, max_subjects, min_find_score)
    settings = Settings(batch=batch, precision=precision, threads=threads)
    sources, several = list_images(images, color, max_pixels)
    network = find_network(model, device)
    if isinstance(find, str) and find == AUTO and not network.config.finder:
        asked = replace(asked, find=SEARCH)
    search = asked.of(network, precision)
    assert search is not None
    engine = engine_of(model, network, precision)
    show = bar_wanted(progress, len(sources), PROGRESS_FROM_IMAGES)
    found: list[list[Roi]] = []
    for source in tqdm(sources, desc="find", unit="image", disable=not show):
        try:
            picture = read_to_look(source, search.longer_px(network.config))
        except (OSError, ValueError) as error:
            if not several:
                raise
            warnings.warn(f"left out {error}", stacklevel=2)
            found.append([])
            continue
        found.append([one.roi for one in sightings_in(picture, search, engine, settings, source.name)])
    return found
