"""Drawn videos of two figures that walk back and forth and cross, whose parts are known in every frame."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from cpm_fast.data.drawn.figures import draw_figure
from cpm_fast.data.drawn.poses import Motion

RATE = 25.0
# Head length per height of the picture.
HEAD_SHARE = 0.085


def crossing_figures(
    seconds: float, seed: int = 0, size: tuple[int, int] = (240, 426)
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the frames of two figures that walk in opposite directions and cross repeatedly, one after another.

    Clothes, sizes, steps, speeds and backgrounds depend on the seed. One figure is always in front of the other, and
    hides most of it when they cross.

    Args:
        seconds: of the video, of `RATE` frames per second.
        seed: of the video.
        size: (H, W) of the frames.

    Returns:
        Pairs of a frame [H, W, 3] uint8 BGR, and the parts [2, 14, 2] in its pixels; the second figure is in front.

    Examples:
        >>> frames = list(crossing_figures(0.2))
        >>> len(frames), frames[0][1].shape
        (5, (2, 14, 2))
    """
    height, width = size
    random = np.random.default_rng((seed, 3))
    y, x = np.mgrid[:height, :width]
    waves = random.uniform(0.02, 0.06, 3)
    grays = random.uniform(90, 160, 3)
    channels = [gray + 18 * np.sin(wave * x) + 14 * np.cos(wave * y) for gray, wave in zip(grays, waves, strict=True)]
    background = np.stack(channels, axis=2)
    period, phase = random.uniform(7, 12), random.uniform(-0.6, 0.6)
    # The duration of a step in seconds, and its length in heads, of each.
    steps, heads = random.uniform(0.9, 1.3, 2), HEAD_SHARE * height * random.uniform(0.9, 1.1, 2)
    looks = random.integers(1 << 32, size=2).tolist()
    for i in range(round(seconds * RATE)):
        t = i / RATE
        image, parts = background.astype(np.uint8), []
        for one, way in enumerate((1, -1)):
            angle = 2 * math.pi * t / period + phase
            faces = way * math.copysign(0.6, math.cos(angle))
            # The random numbers are the same each time, so that the person and the clothes are too.
            figure = draw_figure(np.random.default_rng(looks[one]), faces, _step(t / steps[one], one), roll=0.0)
            origin = np.array([width * (0.5 + 0.36 * way * math.sin(angle)), height * (0.47 + 0.05 * one)])
            figure.paint(image, heads[one], origin)
            parts.append(figure.parts_image(heads[one], origin))
        yield image, np.array(parts)


def _step(phase: float, one: int) -> Motion:
    """Return the joints of a walking person at a phase of the step; the two persons hold their arms differently."""
    swing = math.sin(2 * math.pi * phase)
    hip, knee, bent = 22 * swing, 12 + 10 * math.cos(2 * math.pi * phase), (25, 60)[one]
    return Motion.posed(
        hip=(hip, -hip), knee=(knee, 24 - knee), swing=(-hip, hip), raise_=(12, 12), elbow=(bent, bent), spread=(4, 4)
    )
