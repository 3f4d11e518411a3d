"""COCO's average precision against numbers worked out by hand."""

import numpy as np
import pytest

from cpm_fast.data.open import open_dataset
from cpm_fast.evaluation import read_truth
from cpm_fast.evaluation.oks import ScoredSubjects, average_precision, precision_table
from cpm_fast.skeleton import COCO, LSP, MPII
from support.annotated import FLY

LARGE = 100.0**2


@pytest.fixture(autouse=True)
def pycocotools():
    pytest.importorskip("pycocotools", reason='OKS needs pip install -e ".[eval]"')


def annotated(count: int, skeleton=COCO) -> ScoredSubjects:
    points = np.random.default_rng(0).uniform(0, 300, (count, len(skeleton), 2))
    return ScoredSubjects([f"im{i}" for i in range(count)], points, np.full(count, LARGE))


def test_exact_predictions_are_found_at_every_threshold():
    truth = annotated(3)
    found = average_precision(truth, ScoredSubjects(truth.images, truth.parts_image, np.ones(3)), COCO)
    assert {found.numbers[name] for name in ("AP", "AP50", "AP75", "AP large", "AR")} == {1.0}
    assert np.isnan(found.numbers["AP medium"]) and found.left_out == ()
    assert precision_table([found]).splitlines()[2].split()[:5] == ["stage", "1", "100.0", "100.0", "100.0"]


def test_one_part_at_a_known_similarity():
    """Only the nose has an error, sigma 0.026: with 0.026 x 100 x sqrt(8 ln(1 / 0.72)) px its similarity is 0.72."""
    truth = annotated(1)
    truth.parts_image[:, 1:] = np.nan
    off = 0.026 * 100 * np.sqrt(8 * np.log(1 / 0.72))
    found = ScoredSubjects(truth.images, truth.parts_image + np.array([off, 0]), np.ones(1))
    numbers = average_precision(truth, found, COCO).numbers
    # Thresholds 0.5, 0.55, ..., 0.95: five of ten are at most 0.72.
    assert [numbers[name] for name in ("AP50", "AP75", "AP")] == pytest.approx([1, 0, 0.5])


def test_a_confident_miss_comes_first():
    """The second of two predictions finds the only subject: the precision is 1/2 at every recall."""
    truth = annotated(1)
    both = np.concatenate([truth.parts_image + 1000, truth.parts_image])
    first = average_precision(truth, ScoredSubjects(["im0"] * 2, both, np.array([0.9, 0.1])), COCO)
    last = average_precision(truth, ScoredSubjects(["im0"] * 2, both, np.array([0.1, 0.9])), COCO)
    assert (first.numbers["AP"], last.numbers["AP"]) == pytest.approx((0.5, 1))


def test_what_is_not_there():
    truth = annotated(2)
    nothing = average_precision(truth, ScoredSubjects([], np.empty((0, 17, 2)), np.empty(0)), COCO)
    assert (nothing.numbers["AP"], nothing.numbers["AR"]) == (0, 0) and np.isnan(nothing.numbers["AP medium"])
    elsewhere = ScoredSubjects(["im0", "im9"], truth.parts_image, np.array([1.0, np.nan]))
    assert average_precision(truth, elsewhere, COCO).numbers["AR"] == 0.5
    half = truth.parts_image.copy()
    half[0, ::2] = np.nan  # parts that were not found
    assert average_precision(truth, ScoredSubjects(truth.images, half, np.ones(2)), COCO).numbers["AR"] < 1


def test_other_skeletons_count_where_they_share_parts():
    truth = annotated(2, MPII)
    found = average_precision(truth, ScoredSubjects(truth.images, truth.parts_image, np.ones(2)), MPII)
    assert found.numbers["AP"] == 1 and set(found.left_out) == {"pelvis", "thorax", "neck", "head_top"}
    assert "pelvis" in precision_table([found]) and len(found.parts) == 12
    assert "over 12 of COCO's 17 parts" in precision_table([found])
    wrong = truth.parts_image.copy()
    wrong[:, [MPII.index(name) for name in found.left_out]] += 1000
    assert average_precision(truth, ScoredSubjects(truth.images, wrong, np.ones(2)), MPII).numbers["AP"] == 1


def test_rejects():
    truth = annotated(2, FLY)
    with pytest.raises(ValueError, match=r"sigmas for COCO's parts .* got \['head', 'left_wing', 'right_wing'\]"):
        average_precision(truth, truth, FLY)
    truth = ScoredSubjects(["a", "b"], np.zeros((2, 14, 2)), np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="needs the area of every subject, .*; 1 have none"):
        average_precision(truth, truth, LSP)


@pytest.mark.data
def test_real_annotation_scores_itself(data_dir):
    """COCO's people as detections of themselves are all found; with left and right exchanged, fewer are."""
    reader = read_truth(open_dataset(data_dir / "coco" / "test_coco.json"))
    truth = ScoredSubjects(reader.images, reader.truth(), np.array(reader.areas))
    assert len(truth.images) == 12 and len(set(truth.images)) == 4
    found = ScoredSubjects(truth.images, truth.parts_image, np.ones(len(truth.images)))
    assert average_precision(truth, found, COCO).numbers["AP"] == pytest.approx(1)
    turned = ScoredSubjects(truth.images, truth.parts_image[:, list(COCO.mirror)], np.ones(len(truth.images)))
    assert average_precision(truth, turned, COCO).numbers["AP"] < 0.6
