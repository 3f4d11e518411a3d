"""Eq. 4 and Eq. 5 against sums by hand: scale, the people that count in each stage, and unlabeled parts."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpm_fast.config import NetworkConfig, preset
from cpm_fast.data.augment import Draw
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.loader import Batch, collate, prepare
from cpm_fast.skeleton import Skeleton
from cpm_fast.training.targets.loss import Targets, make_targets, missed_part, stage_losses

SIGMA_PX = 7.0
RELEASED = NetworkConfig()
POINT = Skeleton("point", ("tip",))
# A map of one cell, at box pixel (3.5, 3.5).
ONE_CELL = replace(preset("compact", POINT), input_size=(8, 8))
TWO = Skeleton("two", ("left_tip", "right_tip"), pairs=(("left_tip", "right_tip"),))
SMALL = replace(preset("compact", TWO), input_size=(64, 64))
# Rounding of float32 sums over at most 15 x 46 x 46 terms, measured 2e-7.
SUM_TOLERANCE = 2e-6


def batch_of(parts, drawn=None, known=None) -> Batch:
    """Return a batch with parts [N, K, P, 2] in box pixels; by default all are drawn and known."""
    parts = torch.as_tensor(parts, dtype=torch.float32)
    shape = parts.shape[:3]
    flags = [torch.ones(shape, dtype=torch.bool) if one is None else torch.as_tensor(one) for one in (drawn, known)]
    return Batch(torch.zeros(len(parts), 8, 8, 3, dtype=torch.uint8), parts, *flags, torch.zeros(len(parts), 2))


def peak(part, size) -> np.ndarray:
    """Return one part's map [h, w] in float64 by the release's rule."""
    y, x = np.mgrid[: size[0], : size[1]] * 8.0 + 3.5
    exponent = ((x - part[0]) ** 2 + (y - part[1]) ** 2) / (2 * SIGMA_PX**2)
    return np.where(exponent <= 4.6052, np.exp(-exponent), 0.0)


def spread_pose() -> np.ndarray:
    """Return 14 parts in a 368 px box whose peaks do not meet, each at another place between the cells."""
    random = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(4), np.arange(4)), axis=-1).reshape(-1, 2)[:14]
    return 60 + 80 * grid + random.uniform(-10, 10, (14, 2))


def test_scale_of_the_release_by_hand():
    pose = spread_pose()
    targets = make_targets(batch_of(pose[None, None]), RELEASED, SIGMA_PX, "zero")
    maps = np.stack([peak(part, (46, 46)) for part in pose])
    zeros = torch.zeros(1, 15, 46, 46)
    empty = zeros.clone()
    empty[:, 14] = 1.0
    peaks, background = (maps**2).sum(), ((1 - maps.max(axis=0)) ** 2).sum()
    assert stage_losses([zeros], targets).item() == pytest.approx((peaks + background) / 2, rel=SUM_TOLERANCE)
    # The peaks do not meet, so the squares missing from the background are those of the parts again.
    assert stage_losses([empty], targets).item() == pytest.approx(peaks, rel=SUM_TOLERANCE)


def test_trivial_predictions_cost_what_the_release_reports():
    """About 1030 for zeros and about 32.9 for background alone; overlapping and hidden parts take a little off."""
    figures = DrawnFigures(16)
    batch = collate([prepare(figures[i], RELEASED, Draw()) for i in range(16)], RELEASED)
    targets = make_targets(batch, RELEASED, SIGMA_PX, "zero")
    zeros = torch.zeros(16, 15, 46, 46)
    empty = zeros.clone()
    empty[:, 14] = 1.0
    of_zeros, of_empty = stage_losses([zeros, zeros], targets)[1], stage_losses([empty, empty], targets)[1]
    assert 1020 < of_zeros < 1040
    assert 28 < of_empty < 35


def test_worked_by_hand():
    """A part on the only cell: targets 1 and 0. Beliefs 0.5 and 0.25 cost (0.25 + 0.0625) / 2, in each stage alone.

    With a second sample without the part (targets 0 and 1): (0.3125 + 0.25 + 0.5625) / (2 x 2).
    """
    one = make_targets(batch_of([[[[3.5, 3.5]]]]), ONE_CELL, SIGMA_PX, "zero")
    belief = torch.tensor([0.5, 0.25]).reshape(1, 2, 1, 1)
    assert stage_losses([belief, 2 * belief], one).tolist() == [0.15625, 0.125]
    two = make_targets(batch_of([[[[3.5, 3.5]]], [[[0, 0]]]], drawn=[[[True]], [[False]]]), ONE_CELL, SIGMA_PX, "zero")
    assert stage_losses([belief.expand(2, 2, 1, 1)], two).tolist() == [0.28125]


def test_a_missed_part_costs_its_peak():
    """The peak is between the cells, on average; the release's cut of the Gaussian at 1 % removes a ten-thousandth."""
    offsets = np.random.default_rng(0).uniform(-4, 4, (200, 2))
    cost = np.mean([(peak(183.5 + offset, (46, 46)) ** 2).sum() for offset in offsets])
    assert missed_part(SIGMA_PX) == pytest.approx(cost, rel=2e-3)


def test_a_robust_loss_is_eq_4_near_the_label_and_pulls_less_far_from_it():
    targets = make_targets(batch_of(spread_pose()[None, None]), RELEASED, SIGMA_PX, "zero")
    limit = missed_part(SIGMA_PX)

    def loss_and_pull(error: float, robust: float, map_: int = 0) -> tuple[float, float]:
        belief = targets.subject.clone()
        belief[0, map_, 0, 0] += error
        belief.requires_grad_()
        loss = stage_losses([belief, belief], targets, robust=robust)[1]
        loss.backward()
        return loss.item(), belief.grad[0, map_, 0, 0].item()

    for error in (1e-3, 0.3, math.sqrt(limit), 30.0):
        share = limit / (limit + error**2)
        loss, pull = loss_and_pull(error, limit)
        assert loss == pytest.approx(limit * math.log1p(error**2 / limit) / 2, rel=1e-5)
        assert pull == pytest.approx(error * share, rel=1e-4)
        assert loss_and_pull(error, limit, map_=14) == loss_and_pull(error, 0.0, map_=14), "the background is squared"
    assert loss_and_pull(30.0, 0.0)[1] == pytest.approx(30.0)


def test_a_robust_loss_of_a_network_without_background():
    network = replace(SMALL, background=False)
    targets = make_targets(batch_of(PAIR), network, SIGMA_PX, "mask")
    losses = stage_losses([torch.zeros(1, 2, 8, 8)] * 2, targets, robust=1.0)
    assert losses[1].item() == pytest.approx(sum(math.log1p(s) for s in targets.subject[0].square().sum((1, 2))) / 2)


def test_eq_5_is_the_plain_sum():
    targets = make_targets(batch_of(spread_pose()[None, None]), RELEASED, SIGMA_PX, "zero")
    beliefs = [torch.full((1, 15, 46, 46), value, requires_grad=True) for value in (0.1, 0.3, -0.2)]
    losses = stage_losses(beliefs, targets)
    assert losses.shape == (3,)
    losses.sum().backward()
    for belief in beliefs:  # all stages have the same weight, and none is averaged
        torch.testing.assert_close(belief.grad, belief.detach() - targets.subject, rtol=0, atol=1e-6)


PAIR = [[[[10.0, 20.0], [30.0, 20.0]], [[50.0, 40.0], [20.0, 50.0]]]]  # one picture, two people, two parts


def test_stage_1_learns_everyone_and_later_stages_the_subject():
    targets = make_targets(batch_of(PAIR), SMALL, SIGMA_PX, "mask")
    own, other = (np.stack([peak(part, (8, 8)) for part in person]) for person in np.array(PAIR[0]))
    both = np.minimum(own + other, 1.0)
    for found, maps in ((targets.subject, own), (targets.everyone, both)):
        np.testing.assert_allclose(found[0, :2], maps, atol=1e-6)
        np.testing.assert_allclose(found[0, 2], 1 - maps.max(axis=0), atol=1e-6)
    right_for_stage_1 = [targets.everyone] * 3
    right_for_later = [targets.subject] * 3
    assert (stage_losses(right_for_stage_1, targets) == 0).tolist() == [True, False, False]
    assert (stage_losses(right_for_later, targets) == 0).tolist() == [False, True, True]


@pytest.mark.parametrize(("apart", "cell"), [(20.0, 4), (20.0, 5), (3.0, 3), (3.0, 4)], ids=str)
def test_the_same_part_of_two_people_adds_and_is_clipped(apart, cell):
    network = replace(ONE_CELL, input_size=(64, 64))
    targets = make_targets(batch_of([[[[27.5, 27.5]], [[27.5 + apart, 27.5]]]]), network, SIGMA_PX, "zero")
    x = 8 * cell + 3.5
    added = sum(np.exp(-((x - at) ** 2) / (2 * SIGMA_PX**2)) for at in (27.5, 27.5 + apart))
    assert targets.everyone[0, 0, 3, cell].item() == pytest.approx(min(1.0, added), abs=1e-6)


# Two pictures of one person and two parts; the cases vary the second part of the second picture.
PLACES = [[[[10.0, 20.0], [40.0, 50.0]]], [[[10.0, 20.0], [40.0, 50.0]]]]
SEEN = [[[True, True]], [[True, False]]]


@pytest.mark.parametrize(
    ("mode", "known", "counts"),
    [
        ("mask", SEEN, [[1, 1, 1], [1, 0, 0]]),
        ("zero", SEEN, [[1, 1, 1], [1, 1, 1]]),
        ("mask", [[[True, True]], [[True, True]]], [[1, 1, 1], [1, 1, 1]]),
    ],
    ids=["mask drops map and background", "zero penalises", "known to be outside counts"],
)
def test_an_unlabeled_part(mode, known, counts):
    targets = make_targets(batch_of(PLACES, SEEN, known), SMALL, SIGMA_PX, mode)
    assert targets.subject_counts.tolist() == targets.everyone_counts.tolist() == counts
    assert targets.subject[1, 1].max() == 0 and targets.subject[1, 2].min() < 1, "an empty map, background without it"
    beliefs = [torch.full((2, 3, 8, 8), 2.0, requires_grad=True) for _ in range(2)]
    stage_losses(beliefs, targets).sum().backward()
    for belief in beliefs:
        assert (belief.grad.abs().amax(dim=(2, 3)) > 0).int().tolist() == counts


def test_an_unlabeled_part_of_a_neighbor_masks_stage_1_alone():
    known = [[[True, True], [False, True]]]
    targets = make_targets(batch_of(PAIR, known, known), SMALL, SIGMA_PX, "mask")
    assert targets.everyone_counts.tolist() == [[0, 1, 0]]
    assert targets.subject_counts.tolist() == [[1, 1, 1]]


def test_a_network_without_background_has_no_such_map():
    network = replace(SMALL, background=False)
    targets = make_targets(batch_of(PLACES, SEEN, SEEN), network, SIGMA_PX, "mask")
    assert targets.subject.shape == targets.everyone.shape == (2, 2, 8, 8)
    assert targets.subject_counts.tolist() == [[1, 1], [1, 0]]


def test_gradient_against_float64():
    random = torch.Generator().manual_seed(0)
    known = torch.rand(3, 2, 2, generator=random) < 0.7
    places = torch.rand(3, 2, 2, 2, generator=random) * 64
    targets = make_targets(batch_of(places, known, known), SMALL, SIGMA_PX, "mask")
    beliefs = [torch.randn(3, 3, 8, 8, generator=random).requires_grad_() for _ in range(3)]
    losses = stage_losses(beliefs, targets)
    losses.sum().backward()
    exact = [belief.detach().double().requires_grad_() for belief in beliefs]
    total = torch.zeros((), dtype=torch.float64)
    for stage, belief in enumerate(exact):
        wanted, counts = (
            (targets.subject, targets.subject_counts) if stage else (targets.everyone, targets.everyone_counts)
        )
        loss = 0.5 * ((belief - wanted) ** 2 * counts[:, :, None, None]).sum() / 3
        assert losses[stage].item() == pytest.approx(loss.item(), rel=SUM_TOLERANCE)
        total = total + loss
    total.backward()
    for belief, oracle in zip(beliefs, exact, strict=True):
        torch.testing.assert_close(belief.grad.double(), oracle.grad, rtol=1e-6, atol=1e-7)


@given(st.integers(1, 5), st.integers(1, 4), st.floats(0.1, 3.0), st.integers(0, 2**31))
def test_loss_is_the_mean_of_the_samples_losses(count, stages, size, seed):
    random = torch.Generator().manual_seed(seed)
    maps = [torch.randn(count, 3, 4, 5, generator=random) * size for _ in range(stages + 2)]
    flags = (torch.rand(2, count, 3, generator=random) < 0.8).float()
    targets = Targets(maps[0], maps[1], flags[0], flags[1])

    def one(i: int) -> torch.Tensor:
        own = Targets(*(tensor[i : i + 1] for tensor in (maps[0], maps[1], flags[0], flags[1])))
        return stage_losses([belief[i : i + 1] for belief in maps[2:]], own)

    together, alone = stage_losses(maps[2:], targets), torch.stack([one(i) for i in range(count)]).mean(dim=0)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_half_precision_beliefs_are_summed_in_float32():
    targets = make_targets(batch_of(spread_pose()[None, None]), RELEASED, SIGMA_PX, "zero")
    loss = stage_losses([torch.zeros(1, 15, 46, 46, dtype=torch.bfloat16)], targets)
    assert loss.dtype == torch.float32
    assert loss.item() == stage_losses([torch.zeros(1, 15, 46, 46)], targets).item()
