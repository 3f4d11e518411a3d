"""The one-euro filter (Casiez, Roussel and Vogel, CHI 2012): steady for a part at rest, quick for one that moves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cpm_fast.system.numbers import is_finite, make_plain


@dataclass(frozen=True)
class OneEuro:
    """Parameters of the one-euro filter.

    Args:
        cutoff: cutoff frequency for a part at rest, Hz; lower is steadier and later.
        speed_weight: Hz by which the cutoff rises for each side of the subject's region that a part moves per second.
        speed_cutoff: cutoff frequency for the speed itself, Hz.

    Raises:
        ValueError: a number is not positive (speed_weight: is negative).

    Examples:
        >>> from cpm_fast.data.drawn.synthetic import DrawnFigures
        >>> from cpm_fast.inference.streaming import stream
        >>> frames = [DrawnFigures(1)[0].image] * 2
        >>> steady = OneEuro(cutoff=0.5)
        >>> [len(result) for result in stream(frames, model="compact-drawn", smooth=steady, device="cpu")]
        [1, 1]
    """

    cutoff: float = 1.5
    speed_weight: float = 6.0
    speed_cutoff: float = 1.0

    def __post_init__(self) -> None:
        make_plain(self)
        for name in ("cutoff", "speed_weight", "speed_cutoff"):
            value = getattr(self, name)
            if not is_finite(value) or value < 0 or (value == 0 and name != "speed_weight"):
                raise ValueError(f"{name} must be a positive number of Hz, got {value!r}")


class Smoother:
    """The filter of one subject's parts, frame after frame.

    Args:
        filter: its parameters.
    """

    def __init__(self, filter: OneEuro) -> None:
        self.filter = filter
        self.seconds = -math.inf
        self.positions = np.empty((0, 2))
        self.speeds = np.empty((0, 2))

    def __call__(self, positions: np.ndarray, seconds: float, side: float) -> np.ndarray:
        """Return smoothed positions.

        A part that is NaN comes out as NaN, and starts anew where it is found again.

        Args:
            positions: [P, 2] image pixels.
            seconds: their time; one that is not later than the last starts anew.
            side: of the subject's region, image pixels.

        Returns:
            [P, 2] image pixels, of the dtype of positions.
        """
        passed = seconds - self.seconds
        self.seconds = seconds
        if len(self.positions) != len(positions) or not 0 < passed < math.inf:
            self.positions, self.speeds = positions.astype(np.float64), np.zeros(positions.shape)
            return positions
        speeds = np.where(np.isfinite(self.positions), (positions - self.positions) / passed, 0.0)
        self.speeds += _share(self.filter.speed_cutoff, passed) * (speeds - self.speeds)
        self.speeds = np.where(np.isfinite(self.speeds), self.speeds, 0.0)
        speed = np.linalg.norm(self.speeds, axis=1, keepdims=True) / side
        share = _share(self.filter.cutoff + self.filter.speed_weight * speed, passed)
        moved = self.positions + share * (positions - self.positions)
        self.positions = np.where(np.isfinite(self.positions), moved, positions)
        return self.positions.astype(positions.dtype)


def _share(cutoff: np.ndarray | float, passed: float) -> np.ndarray | float:
    """Return the share of a new value in a first-order low pass with this cutoff (Hz), after `passed` seconds."""
    weight = 2 * math.pi * cutoff * passed
    return weight / (weight + 1)
