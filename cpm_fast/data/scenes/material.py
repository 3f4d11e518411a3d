"""The material of scenes: the samples of a dataset, a finder's settings, and pictures without subjects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cpm_fast.config import NetworkConfig
from cpm_fast.data.sample import Sample
from cpm_fast.recipes import AugmentationConfig
from cpm_fast.skeleton import Skeleton


@dataclass(frozen=True)
class Material:
    """Everything that all scenes of a dataset share.

    Args:
        another: a function that reads a random sample.
        skeleton: the parts of the samples.
        network: the finder, whose input size is that of the scenes.
        augmentation: ranges of turning, mirroring, colors, blur and compression; its other fields are the pose
            networks'.
        background: a function that reads a random picture [H, W, 3] without subjects; None: there are none.
        shown: height and width of a scene in pixels; None: the network's input size.
    """

    another: Callable[[], Sample]
    skeleton: Skeleton
    network: NetworkConfig
    augmentation: AugmentationConfig
    background: Callable[[], np.ndarray] | None = None
    shown: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Return the height and the width of a scene in pixels."""
        return self.shown or self.network.input_size
