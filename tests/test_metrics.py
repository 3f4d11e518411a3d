"""Metrics against numbers computed by hand, and their laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cpm_fast import metrics
from cpm_fast.skeleton import COCO, FLIC, LSP, MPII

NAN = float("nan")

# Two subjects, three parts; lengths 10 and 20, so 0.2 allows errors of 2 and 4.
TRUTH = np.array([[[0.0, 0], [10, 0], [0, 10]], [[0, 0], [20, 0], [NAN, NAN]]])
PREDICTED = np.array([[[0.0, 2], [10, 2.1], [0, 10]], [[3, 2], [NAN, NAN], [5, 5]]])
LENGTH = np.array([10.0, 20.0])


def test_pck_by_hand():
    # Right: part 0 of both (2 <= 2; 3.606 <= 4), part 2 of the first. Wrong: 2.1 > 2, and the one not predicted.
    score = metrics.pck(PREDICTED, TRUTH, LENGTH)
    assert score.per_part.tolist() == [1.0, 0.0, 1.0]
    assert score.counts.tolist() == [2, 2, 1]
    assert score.mean == 3 / 5
    assert (score.samples, score.left_out, score.threshold) == (2, 0, 0.2)


def test_mean_is_pooled_not_the_mean_of_parts():
    score = metrics.pck(PREDICTED, TRUTH, LENGTH)
    assert score.mean == 0.6
    assert score.per_part.mean() == pytest.approx(2 / 3)


def test_comparison_is_not_strict():
    truth = np.zeros((1, 1, 2))
    on_the_line = np.array([[[3.0, 4.0]]])
    assert metrics.pck(on_the_line, truth, np.array([10.0]), 0.5).mean == 1
    assert metrics.pck(on_the_line, truth, np.array([np.nextafter(10.0, 0)]), 0.5).mean == 0
    assert metrics.pck(truth, truth, np.array([10.0]), 0.0).mean == 1


def test_samples_without_a_length_are_left_out_and_counted():
    for length in (NAN, 0.0, -1.0, float("inf")):
        score = metrics.pck(PREDICTED, TRUTH, np.array([10.0, length]))
        assert (score.samples, score.left_out) == (1, 1)
        assert score.counts.tolist() == [1, 1, 1]
        assert score.mean == 2 / 3


@pytest.mark.filterwarnings("error")
def test_nothing_counted_gives_nan_and_no_warning():
    score = metrics.pck(PREDICTED, TRUTH, np.array([NAN, NAN]))
    assert np.isnan(score.mean)
    assert np.isnan(score.per_part).all()
    empty = metrics.pck(np.empty((0, 3, 2)), np.empty((0, 3, 2)), np.empty(0))
    assert np.isnan(empty.mean)
    assert (empty.samples, empty.left_out) == (0, 0)
    unlabeled = metrics.pck(PREDICTED, np.full_like(TRUTH, NAN), LENGTH)
    assert np.isnan(unlabeled.per_part).all()
    infinite = metrics.pck(np.full_like(TRUTH, np.inf), TRUTH, LENGTH)
    assert infinite.mean == 0


def test_valid_chooses_the_parts_that_count():
    valid = np.array([[True, True, False], [False, False, False]])
    score = metrics.pck(PREDICTED, TRUTH, LENGTH, valid=valid)
    assert score.mean == 0.5
    assert score.counts.tolist() == [1, 1, 0]
    assert np.isnan(score.per_part[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": PREDICTED[:, :2]}, r"predicted must be of truth's shape \[2, 3, 2\], got \[2, 2, 2\]"),
        ({"predicted": PREDICTED[0]}, r"predicted must be \[M, P, 2\], got \[3, 2\]"),
        ({"truth": TRUTH[..., 0]}, r"truth must be \[M, P, 2\], got \[2, 3\]"),
        ({"reference_length": np.ones(3)}, r"reference_length must be \[2\], got \[3\]"),
        ({"threshold": -0.1}, "threshold must be a finite number, 0 or more, got -0.1"),
        ({"threshold": NAN}, "threshold must be a finite number"),
        ({"valid": np.ones((2, 3))}, r"valid must be \[2, 3\] bool, got \[2, 3\] float64"),
        ({"valid": np.ones((2, 2), bool)}, r"valid must be \[2, 3\] bool, got \[2, 2\]"),
        ({"valid": np.ones((2, 3), bool)}, r"truth must be finite where valid is set, got .* at \[1, 2\]"),
    ],
)
def test_rejects(change, message):
    arguments = {"predicted": PREDICTED, "truth": TRUTH, "reference_length": LENGTH} | change
    with pytest.raises(ValueError, match=message):
        metrics.pck(**arguments)


def test_pckh_by_hand():
    # A head box of 30 x 40 has a diagonal of 50, a head size of 30, and at 0.5 allows errors up to 15.
    truth = np.zeros((1, 16, 2))
    predicted = np.zeros((1, 16, 2))
    predicted[0, 0] = 15, 0
    predicted[0, 1] = 15.01, 0
    predicted[0, MPII.index("pelvis")] = 100, 0
    box = np.array([[10.0, 10.0, 40.0, 50.0]])
    score = metrics.pckh(predicted, truth, box)
    assert score.per_part[:2].tolist() == [1, 0]
    assert score.per_part[MPII.index("pelvis")] == 0
    assert score.mean == 13 / 14  # pelvis and thorax do not count
    assert metrics.pckh(predicted, truth, head_length=np.array([30.0])).mean == score.mean
    assert metrics.pckh(predicted[:, :14], truth[:, :14], box, skeleton=LSP).mean == 12 / 14


def test_pckh_rejects():
    points = np.zeros((1, 16, 2))
    with pytest.raises(ValueError, match="exactly one of them, got neither"):
        metrics.pckh(points, points)
    with pytest.raises(ValueError, match="exactly one of them, got both"):
        metrics.pckh(points, points, np.ones((1, 4)), head_length=np.ones(1))
    with pytest.raises(ValueError, match=r"head_box must be \[M, 4\], got \[4\]"):
        metrics.pckh(points, points, np.ones(4))
    with pytest.raises(ValueError, match="truth must have the 14 parts of 'lsp', got 16"):
        metrics.pckh(points, points, np.ones((1, 4)), skeleton=LSP)


def flic_truth() -> np.ndarray:
    truth = np.zeros((2, 9, 2))
    truth[:, FLIC.index("left_shoulder")] = 30, 0
    truth[:, FLIC.index("right_hip")] = 0, 40  # a torso of 50: errors up to 10 at 0.2
    return truth


def test_flic_by_hand():
    truth = flic_truth()
    predicted = truth.copy()
    predicted[0, FLIC.index("left_elbow")] += 11, 0
    predicted[0, FLIC.index("left_wrist")] += 10, 0
    predicted[:, FLIC.index("right_wrist")] += 0, 10.5
    # The truth's torso counts: a misplaced predicted hip changes its own part alone.
    predicted[:, FLIC.index("right_hip")] += 1000, 0
    score = metrics.flic(predicted, truth)
    assert score.elbow == 0.75
    assert score.wrist == 0.5
    assert score.parts.mean == (18 - 1 - 2 - 2) / 18


def test_flic_one_side_unlabeled_takes_the_other():
    truth = flic_truth()
    truth[:, FLIC.index("left_elbow")] = NAN
    truth[:, [FLIC.index("left_wrist"), FLIC.index("right_wrist")]] = NAN
    score = metrics.flic(np.zeros_like(truth), truth)
    assert score.elbow == 1
    assert np.isnan(score.wrist)


def test_curve_and_area_by_hand():
    # One part with an error of 1.5 of 10: found from threshold 0.15 on; of 21 thresholds 15..20 are hits.
    truth = np.zeros((1, 1, 2))
    predicted = np.array([[[1.5, 0.0]]])
    heights = metrics.curve(predicted, truth, np.array([10.0]))
    assert heights.tolist() == [0.0] * 15 + [1.0] * 6
    # Five whole trapezoids and one half of 0.01 over 0.2.
    assert metrics.area_under_curve(predicted, truth, np.array([10.0])) == pytest.approx(5.5 / 20)
    assert metrics.area_under_curve(truth, truth, np.array([10.0])) == pytest.approx(1)
    assert metrics.area_under_curve(predicted, truth, np.array([10.0]), (0.1, 0.2, 0.4)) == pytest.approx(0.25 / 0.3)


def test_curve_rejects():
    points = np.zeros((1, 1, 2))
    with pytest.raises(ValueError, match="thresholds must be rising"):
        metrics.curve(points, points, np.ones(1), (0.2, 0.1))
    with pytest.raises(ValueError, match="thresholds must be rising numbers, at least one"):
        metrics.curve(points, points, np.ones(1), ())
    with pytest.raises(ValueError, match="thresholds must be at least two"):
        metrics.area_under_curve(points, points, np.ones(1), (0.2,))


def test_reference_lengths_by_hand():
    truth = np.full((3, 14, 2), NAN)
    truth[:2, LSP.index("left_shoulder")] = 3, 4
    truth[0, LSP.index("right_hip")] = 0, 0
    truth[1, LSP.index("left_hip")] = 0, 0
    length = metrics.lsp_reference_length(truth)
    assert length[0] == 5
    assert np.isnan(length[1:]).all()
    assert metrics.flic_reference_length(flic_truth()).tolist() == [50, 50]
    assert metrics.mpii_reference_length(np.array([[0.0, 0, 3, 4]])) == pytest.approx([3])
    box = metrics.box_reference_length(truth)
    assert box[:2].tolist() == [4, 4]
    assert np.isnan(box[2])
    assert metrics.box_reference_length(np.empty((0, 5, 2))).shape == (0,)


def test_reference_length_rejects():
    with pytest.raises(ValueError, match="truth must have the 14 parts of 'lsp', got 9"):
        metrics.lsp_reference_length(np.zeros((1, 9, 2)))
    with pytest.raises(ValueError, match=r"truth must be \[M, P, 2\]"):
        metrics.box_reference_length(np.zeros((9, 2)))
    assert metrics.lsp_reference_length(np.zeros((1, 17, 2)), COCO).tolist() == [0]


coordinates = st.floats(-1000, 1000, width=32) | st.just(NAN)
clouds = st.integers(0, 6).flatmap(
    lambda count: st.tuples(
        arrays(np.float64, (count, 3, 2), elements=coordinates),
        arrays(np.float64, (count, 3, 2), elements=coordinates),
        arrays(np.float64, (count,), elements=st.floats(-10, 500, width=32) | st.just(NAN)),
    )
)


def equal(left: metrics.Score, right: metrics.Score) -> bool:
    same = np.array_equal(left.per_part, right.per_part, equal_nan=True) and np.array_equal(left.counts, right.counts)
    means = left.mean == right.mean or (np.isnan(left.mean) and np.isnan(right.mean))
    return same and means and (left.samples, left.left_out) == (right.samples, right.left_out)


@given(clouds, st.integers(-8, 8))
def test_scaling_everything_changes_nothing(cloud, power):
    # Powers of two, so that a distance on the line stays on the line.
    predicted, truth, length = cloud
    scale = 2.0**power
    assert equal(metrics.pck(predicted, truth, length), metrics.pck(predicted * scale, truth * scale, length * scale))


@given(clouds, st.randoms(use_true_random=False))
def test_order_of_samples_changes_nothing(cloud, random):
    predicted, truth, length = cloud
    order = list(range(len(length)))
    random.shuffle(order)
    assert equal(metrics.pck(predicted, truth, length), metrics.pck(predicted[order], truth[order], length[order]))


@given(clouds, st.floats(0, 2), st.floats(0, 2))
def test_monotone_in_threshold(cloud, first, second):
    low, high = (metrics.pck(*cloud, threshold=value) for value in sorted((first, second)))
    assert not (low.per_part > high.per_part).any()
    assert not low.mean > high.mean


@given(clouds)
def test_area_lies_between_the_ends_of_the_curve(cloud):
    heights = metrics.curve(*cloud)
    area = metrics.area_under_curve(*cloud)
    if np.isnan(heights[0]):
        assert np.isnan(area)
    else:
        assert heights[0] - 1e-12 <= area <= heights[-1] + 1e-12
