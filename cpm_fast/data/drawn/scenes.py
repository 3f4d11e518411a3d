"""Pictures of one to six drawn people, with exact parts: a dataset of whole pictures that needs no file."""

from __future__ import annotations

import numpy as np

from cpm_fast.data.drawn.figures import Figure, draw_figure
from cpm_fast.data.drawn.poses import UPRIGHT_HEADS
from cpm_fast.data.drawn.synthetic import MARGIN_PX, camera, draw_background
from cpm_fast.data.sample import Sample
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP, Skeleton
from cpm_fast.system.numbers import is_whole

MOST_FIGURES = 6
# Figures in each round of scenes, one scene of every number.
ROUND = sum(range(1, MOST_FIGURES + 1))
PICTURE_SIDE_PX = (320, 640)
# Upright height of a figure over the picture's shorter side, and the pixels of a picture with the usual clutter.
HEIGHT_SHARE, CLUTTER_PX = (0.2, 0.75), 250 * 250
# The largest share of a figure's parts within the boxes of nearer figures.
MOST_HIDDEN = 0.4
# A figure that finds no place in so many draws becomes smaller.
TRIES, SMALLER = 20, 0.9


class DrawnScenes:
    """Pictures of one to six drawn people on clutter, one sample per person; the truth is exact.

    Scene i shows 1 + i mod 6 people, each wholly in the picture, from a fifth to three quarters of its shorter side
    tall if upright. Larger people stand in front of smaller ones; at most 40 % of a person's parts lie within the boxes
    of those in front. The samples of a scene have the same name and picture, and a scene depends only on seed and
    number.

    Args:
        count: number of scenes, at least 1.
        seed: not negative; another seed gives other scenes.

    Raises:
        ValueError: count < 1 or seed < 0.

    Examples:
        >>> scenes = DrawnScenes(2)
        >>> [scenes[i].name for i in range(len(scenes))]
        ['scene-000000', 'scene-000001', 'scene-000001']
    """

    def __init__(self, count: int, seed: int = 0) -> None:
        if not is_whole(count) or count < 1:
            raise ValueError(f"count must be at least 1, got {count!r}")
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        self.count, self.seed = count, seed

    @property
    def name(self) -> str:
        return "synthetic-scenes"

    @property
    def skeleton(self) -> Skeleton:
        return LSP

    def __len__(self) -> int:
        rounds, rest = divmod(self.count, MOST_FIGURES)
        return rounds * ROUND + rest * (rest + 1) // 2

    def __getitem__(self, index: int) -> Sample:
        """Draw the scene of a sample, anew on every call: about 20 ms.

        Raises:
            IndexError: index is not from 0 to one less than the number of people.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index must be from 0 to {len(self) - 1}, got {index}")
        scene, figure = divmod(index, ROUND)
        scene *= MOST_FIGURES
        figures = 1
        while figure >= figures:
            scene, figure, figures = scene + 1, figure - figures, figures + 1
        random = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(scene, MOST_FIGURES)))
        return draw_scene(random, figures, f"scene-{scene:06d}")[figure]


def draw_scene(rng: np.random.Generator, figures: int, name: str) -> list[Sample]:
    """Draw one picture of so many people: a sample of each, the nearest first."""
    height, width = (int(side) for side in rng.integers(*PICTURE_SIDE_PX, size=2, endpoint=True))
    shortest = min(height, width)
    least, most = np.log(HEIGHT_SHARE).tolist()
    heights = np.exp(rng.uniform(least, most, figures)) * shortest
    placed: list[tuple[Figure, float, np.ndarray]] = []
    parts: list[np.ndarray] = []
    for figure_px in sorted(heights.tolist(), reverse=True):
        figure = draw_figure(rng)
        head_px, origin = _place(rng, figure, figure_px / UPRIGHT_HEADS, (height, width), parts)
        placed.append((figure, head_px, origin))
        parts.append(figure.parts_image(head_px, origin))

    image = draw_background(rng, height, width, height * width / CLUTTER_PX)
    cells = np.rint(np.array(parts)).astype(int)  # [K, 14, 2]
    hidden = np.zeros(cells.shape[:2], bool)
    for number in reversed(range(figures)):
        x, y = np.moveaxis(cells[number + 1 :], -1, 0)
        before = image[y, x]
        figure, head_px, origin = placed[number]
        figure.paint(image, head_px, origin)
        hidden[number + 1 :] |= (image[y, x] != before).any(axis=-1)
    image = camera(rng, image)
    every, labeled = np.array(parts), np.ones(len(LSP), bool)
    return [
        Sample(
            image=image,
            parts_image=every[number],
            labeled=labeled,
            roi=Roi.from_parts(every[number], labeled, LSP),
            name=name,
            occluded=hidden[number],
            others_image=np.delete(every, number, axis=0),
            complete=True,
        )
        for number in range(figures)
    ]


def _place(
    rng: np.random.Generator, figure: Figure, head_px: float, size: tuple[int, int], nearer: list[np.ndarray]
) -> tuple[float, np.ndarray]:
    """Return the head's length and the pelvis's place of a figure that those nearer hide little of."""
    limit = np.array(size[::-1]) - 1.0
    while True:
        low, high = figure.parts.min(axis=0) * head_px - MARGIN_PX, figure.parts.max(axis=0) * head_px + MARGIN_PX
        if (high - low <= limit).all():
            for _ in range(TRIES):
                origin = rng.uniform(-low, limit - high)
                if _hidden_share(figure.parts_image(head_px, origin), nearer) <= MOST_HIDDEN:
                    return head_px, origin
        head_px *= SMALLER


def _hidden_share(parts: np.ndarray, nearer: list[np.ndarray]) -> float:
    """Return the share of parts [14, 2] that lie within the boxes of the parts of nearer figures."""
    within = np.zeros(len(parts), bool)
    for other in nearer:
        within |= ((parts >= other.min(axis=0)) & (parts <= other.max(axis=0))).all(axis=1)
    return float(within.mean())
