"""Backgrounds of scenes: pictures without subjects, surroundings of subjects, or drawn clutter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from cpm_fast.data.drawn.synthetic import draw_background
from cpm_fast.data.effects import surroundings
from cpm_fast.data.scenes.material import Material
from cpm_fast.media.image import read_image
from cpm_fast.media.sources import list_folder

# How often a background is drawn, and the magnification of one from a photograph.
DRAWN_SHARE, BACKGROUND_SCALE = 0.2, (1.0, 3.0)
# How often a background is one of the pictures without subjects, if there are any, and its largest magnification over
# that at which it fills the scene.
GIVEN_SHARE, GIVEN_ZOOM = 0.6, 3.0


class Backgrounds(Sequence[np.ndarray]):
    """Pictures in which no subject is, read when they are needed.

    Args:
        paths: of the files.
        name: of all of them, for messages.

    Examples:
        >>> len(Backgrounds([]))
        0
    """

    def __init__(self, paths: Sequence[Path], name: str = "backgrounds") -> None:
        self.paths, self.name = list(paths), name

    @classmethod
    def of_folder(cls, folder: str | Path) -> Backgrounds:
        """Return the pictures of a folder and of those in it.

        Raises:
            NotADirectoryError: there is no such folder.
            ValueError: it holds no picture.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder}: backgrounds must be a folder of pictures, and there is none")
        return cls(list_folder(folder, recursive=True), str(folder))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        """Return a picture, [H, W, 3] uint8 BGR.

        Raises:
            ValueError, OSError: it can't be read; names the file.
        """
        return read_image(self.paths[index])

    def picture_files(self) -> list[Path]:
        """Return the files of all pictures, for a run's list of its inputs."""
        return self.paths


def background_of(material: Material, random: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Return a picture without subjects, or surroundings of one, mirrored to the scene's size, or drawn clutter.

    The second value says whether unlabeled subjects may be in these pixels [H, W, 3], as in surroundings.
    """
    size = material.size
    if material.background is not None and random.random() < GIVEN_SHARE:
        return _part(material.background(), size, random), False
    other = material.another()
    strip = surroundings(other)
    # The whole picture is given if nothing is beside the subject.
    if random.random() < DRAWN_SHARE or strip is other.image or len(other.others_image) or len(other.ignored_image):
        return draw_background(random, *size), False
    if random.random() < 0.5:
        strip = strip[:, ::-1]
    scale = math.exp(random.uniform(*np.log(BACKGROUND_SCALE)))
    high, wide = (min(most, max(1, round(scale * side))) for most, side in zip(size, strip.shape, strict=False))
    filled = cv2.resize(np.ascontiguousarray(strip), (wide, high), interpolation=cv2.INTER_AREA)
    top, left = (int(random.integers(side - length + 1)) for side, length in zip(size, (high, wide), strict=True))
    below, right = size[0] - high - top, size[1] - wide - left
    return cv2.copyMakeBorder(filled, top, below, left, right, cv2.BORDER_REFLECT), True


def _part(picture: np.ndarray, size: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Return a random part of a picture that fills (H, W) pixels, half of the time mirrored."""
    pixels, shown = np.array(picture.shape[:2], float), np.array(size, float)
    scale = float((shown / pixels).max()) * math.exp(random.uniform(0, math.log(GIVEN_ZOOM)))
    high, wide = np.maximum(1, np.minimum(shown / scale, pixels).astype(int)).tolist()
    top, left = (
        int(random.integers(side - length + 1)) for side, length in zip(picture.shape, (high, wide), strict=False)
    )
    part = picture[top : top + high, left : left + wide]
    part = part[:, ::-1] if random.random() < 0.5 else part
    return cv2.resize(np.ascontiguousarray(part), size[::-1], interpolation=cv2.INTER_AREA)
