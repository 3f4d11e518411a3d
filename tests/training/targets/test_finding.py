"""Targets of a finder: a peak per subject, sides around it, and cells that do not count."""

from __future__ import annotations

import numpy as np
import torch

from cpm_fast.config import preset
from cpm_fast.data.scenes.loader import blank_scenes, collate_scenes
from cpm_fast.data.scenes.scene import Scene
from cpm_fast.roi import Roi
from cpm_fast.training.targets.finding import DOUBT_WEIGHT, SIDE_WEIGHT, finder_targets

NETWORK = preset("finder")
BLACK = np.zeros((256, 256, 3), np.uint8)


def test_peaks_and_sides() -> None:
    """The middle of cell (5, 9) of two subjects, whose sides are one octave above the unit and one below."""
    middles = [(5 * 8 + 3.5, 9 * 8 + 3.5), (20 * 8 + 3.5, 12 * 8 + 3.5)]
    batch = collate_scenes([Scene(BLACK, (Roi(middles[0], 128.0), Roi(middles[1], 32.0))), Scene(BLACK)], NETWORK)
    targets = finder_targets(batch, NETWORK)
    belief, side = targets.maps[0]
    assert belief[9, 5] == belief[12, 20] == belief.max() == 1
    assert side[9, 5] == 1 and side[12, 20] == -1
    # The larger subject has the wider peak, and its side counts on more cells.
    assert belief[9, 6] > belief[12, 21]
    learned = targets.weights[0, 1] > 0
    assert learned[9, 5] and learned[9, 6] and not learned[9, 12]
    assert set(targets.weights[0, 1].unique().tolist()) == {0.0, float(np.float32(SIDE_WEIGHT))}
    assert not targets.maps[1].any() and (targets.weights[1, 0] == 1).all() and not targets.weights[1, 1].any()


def test_who_does_not_count_and_doubt() -> None:
    middle = (20 * 8 + 3.5, 12 * 8 + 3.5)
    crowd = Roi((60.0, 60.0), 80.0)
    batch = collate_scenes([Scene(BLACK, (Roi(middle, 64.0),), (crowd,), doubtful=True)], NETWORK)
    weights = finder_targets(batch, NETWORK).weights[0, 0]
    assert weights[7, 7] == 0 and weights[12, 20] == 1 and weights[30, 30] == float(np.float32(DOUBT_WEIGHT))


def test_a_subject_in_a_crowd_counts() -> None:
    middle = (7 * 8 + 3.5, 7 * 8 + 3.5)
    batch = collate_scenes([Scene(BLACK, (Roi(middle, 64.0),), (Roi(middle, 100.0),))], NETWORK)
    weights = finder_targets(batch, NETWORK).weights[0, 0]
    assert weights[7, 7] == 1 and weights[7, 11] == 0


def test_the_loss_is_nothing_at_the_targets_and_grows_with_errors() -> None:
    batch = collate_scenes([Scene(BLACK, (Roi((100.0, 100.0), 90.0),)), Scene(BLACK)], NETWORK)
    targets = finder_targets(batch, NETWORK)
    wrong = targets.maps + torch.tensor([0.5, 1.0]).view(1, 2, 1, 1)
    none, some = targets.losses([targets.maps, wrong], None, 0.0)
    assert none == 0 and some == 0.25 * (0.25 * targets.weights[:, 0].sum() + targets.weights[:, 1].sum())
    assert targets.losses([wrong], 4, 0.0) == some / 2
    assert targets.without_counts().losses([wrong], None, 0.0) == 0


def test_a_blank_batch_has_targets() -> None:
    targets = finder_targets(blank_scenes(NETWORK, 2), NETWORK)
    assert targets.maps.shape == (2, 2, 32, 32) and not targets.maps.any()
