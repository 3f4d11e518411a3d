"""Rules: every reference length by hand, defaults, and the observer's left and right."""

import numpy as np
import pytest

from cpm_fast.evaluation import Rule, evaluate_predictions
from cpm_fast.evaluation.rule import observer_centric, to_observer
from cpm_fast.skeleton import COCO, FLIC, LSP, MPII, Skeleton
from support.annotated import FLY, Figures

NAN = float("nan")


@pytest.mark.parametrize(
    ("rule", "skeleton", "heads", "title", "over"),
    [
        (Rule(), LSP, False, "PCK@0.2", "|left_shoulder - right_hip| of the truth"),
        (Rule(), FLY, False, "PCK@0.2", "the longer side of the box about the labeled parts"),
        (Rule("auto"), MPII, True, "PCKh@0.5", "the annotated head length (0.6 of the head box's diagonal)"),
        (Rule("auto"), MPII, False, "PCK@0.2", "|left_shoulder - right_hip| of the truth"),
        (Rule("auto"), FLIC, False, "PCK@0.2", "|left_shoulder - right_hip| of the truth"),
        (Rule("pck", "left_hip:right_shoulder", 0.1), LSP, True, "PCK@0.1", "|left_hip - right_shoulder| of the truth"),
        (Rule("pck", "pixel", 5), FLY, False, "PCK@5 px", "one pixel of the image"),
        (Rule("pckh", "box"), LSP, False, "PCKh@0.5", "the longer side of the box about the labeled parts"),
    ],
    ids=["torso", "no torso", "auto with heads", "auto", "auto of FLIC", "two parts", "pixels", "pckh over a box"],
)
def test_what_is_left_open_is_settled(rule, skeleton, heads, title, over):
    settled = rule.settled(skeleton, heads)
    assert (settled.title, settled.over) == (title, over)
    assert settled.settled(skeleton, heads) == settled


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rule("pcp"), "metric must be one of pck, pckh, flic, auto, got 'pcp'"),
        (lambda: Rule(reference="knee"), "reference must be torso, head, box, pixel or two parts PART:PART"),
        (lambda: Rule(reference="a:b:c"), "reference must be torso"),
        (lambda: Rule(threshold=-1), "threshold must be a finite number, 0 or more, got -1"),
        (lambda: Rule(threshold=14), "threshold must be at most 2 reference lengths, got 14; for pixels give the"),
        (lambda: Rule(threshold=NAN), "threshold must be a finite number"),
        (lambda: Rule(centric="mine"), "centric must be person or observer, got 'mine'"),
        (lambda: Rule("pckh").settled(LSP, False), "reference 'head' needs head lengths in the annotation"),
        (lambda: Rule(reference="neck:tail").settled(LSP, False), "needs the part 'tail'"),
        (lambda: Rule("flic").settled(FLY, False), "'torso' needs the part 'left_shoulder'"),
        (lambda: Rule(reference="pixel").settled(LSP, False), "threshold must be given in pixels"),
    ],
    ids=[
        "metric",
        "reference",
        "three parts",
        "negative",
        "too large",
        "nan",
        "centric",
        "no heads",
        "no part",
        "no torso",
        "px",
    ],
)
def test_rejects(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_lengths_by_hand():
    truth = np.array([[[0.0, 0], [30, 40], [6, 8]], [[1, 1], [NAN, NAN], [4, 5]]])
    heads = np.array([7.0, NAN])

    def lengths(**given):
        return Rule(threshold=1, **given).settled(FLY, True).lengths(truth, FLY, heads).tolist()

    assert lengths(reference="box") == [40, 4]
    assert lengths(reference="pixel") == [1, 1]
    assert lengths(reference="head:right_wing") == [10, 5]
    np.testing.assert_equal(lengths(reference="head"), [7, NAN])
    np.testing.assert_equal(lengths(reference="left_wing:right_wing"), [40, NAN])  # 24 and 32 apart


def test_pckh_of_annotated_heads_by_hand():
    """With head lengths 10, 20 and none, errors up to 5 and 10 are right; pelvis and thorax do not count."""
    dataset = Figures(3, MPII, more=[{"head_length": 10.0}, {"head_length": 20.0}, {}])
    predicted = dataset.parts_image.copy()
    predicted[0, MPII.index("right_knee")] += 3, 4  # 5 off: right
    predicted[0, MPII.index("left_knee")] += 3, 4.1
    predicted[1, MPII.index("left_ankle")] += 0, 10.1
    predicted[:, MPII.index("pelvis")] += 100, 0
    predicted[2] += 1000
    result = evaluate_predictions(predicted, dataset, rule=Rule("auto"))
    score = result.stages[0]
    assert (score.threshold, score.samples, score.left_out) == (0.5, 2, 1)
    assert score.mean == 26 / 28 and score.per_part[MPII.index("pelvis")] == 0
    assert [score.per_part[MPII.index(name)] for name in ("right_knee", "left_knee", "left_ankle")] == [1, 0.5, 0.5]
    table = result.table(sides=True)
    assert "PCKh@0.5 of figures" in table and "left out: 1 of 3 without a head length" in table
    assert len(result.rule.curve) == 51 and result.rule.curve[-1] == 0.5
    assert result.group_means(score)[list(result.groups()).index("knee")] == 0.75


def test_flic_tells_elbows_and_wrists():
    dataset = Figures(2, FLIC)
    predicted = dataset.parts_image.copy()
    predicted[0, FLIC.index("left_elbow")] += 100
    predicted[:, FLIC.index("right_wrist")] += 100
    result = evaluate_predictions(predicted, dataset, rule=Rule("auto"))
    assert "FLIC: elbow 75.00, wrist 50.00" in result.table(sides=True)
    assert "FLIC" not in result.table()


def test_pixels_by_hand():
    dataset = Figures(1, FLY)
    result = evaluate_predictions(
        dataset.parts_image + np.array([3, 4]), dataset, rule=Rule(reference="pixel", threshold=5.0)
    )
    assert result.stages[0].mean == 1 and result.errors == pytest.approx(5)
    assert result.rule.curve[-1] == 10 and result.areas[0] == pytest.approx(0.5 + 0.5 / 40)  # up at 5 of 10 px
    assert "mean (median) by stage: 5.0 (5.0)" in result.table(sides=True)


def points(**places) -> np.ndarray:
    """Return one subject of LSP with these x; the other parts are unlabeled."""
    found = np.full((1, len(LSP), 2), NAN)
    for name, x in places.items():
        found[0, LSP.index(name)] = x, 0
    return found


@pytest.mark.parametrize(
    ("places", "turned"),
    [
        ({"left_shoulder": 10, "right_shoulder": 5, "left_hip": 0, "right_hip": 50}, False),
        ({"left_shoulder": 5, "right_shoulder": 10, "left_hip": 50, "right_hip": 0}, True),
        ({"left_shoulder": 5, "right_shoulder": 5, "left_hip": 0, "right_hip": 50}, False),
        ({"left_shoulder": 5, "left_hip": 0, "right_hip": 50, "left_knee": 30, "right_knee": 0}, True),
        ({"left_hip": 50, "right_hip": 0, "left_knee": 0, "right_knee": 30}, False),
        ({"left_shoulder": 5, "right_hip": 10}, False),
    ],
    ids=["facing the camera", "from behind", "edge on", "no shoulders, hips decide", "the mean decides", "no pair"],
)
def test_the_observer_s_sides(places, turned):
    assert observer_centric(points(**places), LSP).tolist() == [turned]


def test_all_pairs_change_names_together_and_once():
    found = points(left_shoulder=5, right_shoulder=10, left_hip=50, neck=7)
    values = np.arange(14.0)[None]
    again, moved = to_observer(found, LSP, values)
    assert np.array_equal(again, points(left_shoulder=10, right_shoulder=5, right_hip=50, neck=7), equal_nan=True)
    assert moved[0].tolist() == [float(i) for i in LSP.mirror]
    assert np.array_equal(to_observer(again, LSP)[0], again, equal_nan=True)
    assert not observer_centric(np.zeros((2, 2, 2)), Skeleton("line", ("a", "b"))).any()


def test_observer_centric_forgives_a_subject_seen_the_wrong_way_about():
    """The prediction has all sides exchanged, so all parts are wrong by the person and right by the observer."""
    dataset = Figures(1, COCO)
    left, right = (np.array([COCO.index(pair[side]) for pair in COCO.pairs]) for side in (0, 1))
    dataset.parts_image[:, left, 0] = 20
    dataset.parts_image[:, right, 0] = 70
    swapped = dataset.parts_image[:, list(COCO.mirror)]
    assert evaluate_predictions(swapped, dataset, rule=Rule(reference="box")).stages[0].mean == 1 / 17  # the nose
    result = evaluate_predictions(swapped, dataset, rule=Rule(reference="box", centric="observer"))
    assert result.stages[0].mean == 1 and "observer-centric" in result.table()
    # Only the prediction decides how it is renamed: one that is wrong by itself stays wrong.
    one = dataset.parts_image.copy()
    one[0, COCO.index("left_wrist")] = one[0, COCO.index("right_wrist")]
    assert evaluate_predictions(one, dataset, rule=Rule(reference="box", centric="observer")).stages[0].mean == 16 / 17
