"""Drawn figures: the same in every process, and true."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest

from cpm_fast.data.drawn.figures import EYE_BGR, draw_figure
from cpm_fast.data.drawn.poses import MOTIONS
from cpm_fast.data.drawn.shapes import capsules
from cpm_fast.data.drawn.synthetic import DrawnFigures, draw_sample
from cpm_fast.roi import LIMB_RATIOS, Roi
from cpm_fast.skeleton import LSP

COUNT = 150
# A limb that joins neighbors keeps its length; these two change with every bent knee or elbow, and athletes bend them.
RATIO_TOLERANCE = {("left_ankle", "neck"): 0.40, ("left_wrist", "neck"): 0.15}
RATIO_TOLERANCE_NEIGHBORS = 0.08

DIGEST = """
import hashlib
from cpm_fast.data.drawn.synthetic import DrawnFigures
figures, digest = DrawnFigures(40, seed=3), hashlib.sha256()
for index in reversed(range(12)):
    sample = figures[index]
    for array in (sample.image, sample.parts_image, sample.labeled, sample.occluded, sample.others_image):
        digest.update(array.tobytes())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def samples():
    figures = DrawnFigures(COUNT, seed=1)
    return [figures[index] for index in range(COUNT)]


def generator(seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))


def test_same_in_every_process_and_order():
    figures, digest = DrawnFigures(20, seed=3), hashlib.sha256()
    for index in reversed(range(12)):
        sample = figures[index]
        for array in (sample.image, sample.parts_image, sample.labeled, sample.occluded, sample.others_image):
            digest.update(array.tobytes())
    other = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest.hexdigest()


def test_seeds_and_indices_differ():
    pictures = {DrawnFigures(3, seed)[index].image.tobytes() for seed in (0, 1) for index in range(3)}
    assert len(pictures) == 6


def test_sample_fields(samples):
    for index, sample in enumerate(samples):
        assert sample.image.dtype == np.uint8 and sample.image.ndim == 3 and sample.image.shape[2] == 3
        assert min(sample.image.shape[:2]) >= 180 and max(sample.image.shape[:2]) <= 340
        assert sample.parts_image.shape == (14, 2) and sample.parts_image.dtype == np.float64
        assert sample.labeled.shape == (14,) and sample.labeled.dtype == bool
        assert sample.occluded.shape == (14,) and sample.occluded.dtype == bool
        assert sample.others_image.shape[1:] == (14, 2) and len(sample.others_image) <= 3
        assert sample.roi == Roi.from_parts(sample.parts_image, sample.labeled, LSP)
        assert sample.name == f"{index:06d}"
    counts = {len(sample.others_image) for sample in samples}
    assert counts == {0, 1, 2, 3}


def test_labeled_parts_lie_inside_the_picture(samples):
    for sample in samples:
        limit = np.array(sample.image.shape[1::-1]) - 1
        seen = sample.parts_image[sample.labeled]
        assert ((seen >= 0) & (seen <= limit)).all()
        assert np.isnan(sample.parts_image[~sample.labeled]).all()
        assert np.isfinite(sample.others_image).all()
        assert not (sample.occluded & ~sample.labeled).any()
    assert np.mean([sample.labeled.all() for sample in samples]) > 0.9
    some_covered = np.mean([sample.occluded.any() for sample in samples])
    assert 0.01 < some_covered < 0.25


def test_truth_lies_on_the_drawing(samples):
    """Without the subject in the same picture, the pixels at its parts change, and those far from it do not."""
    hits = total = 0
    for index, sample in enumerate(samples[:60]):
        empty = draw_sample(generator(1, index), "empty", subject=False)
        np.testing.assert_array_equal(empty.parts_image, sample.parts_image)
        changed = (sample.image.astype(int) != empty.image).any(axis=2)
        seen = sample.labeled & ~sample.occluded
        x, y = np.rint(sample.parts_image[seen]).astype(int).T
        hits += int(changed[y, x].sum())
        total += int(seen.sum())
        low, high = np.nanmin(sample.parts_image, axis=0) - 30, np.nanmax(sample.parts_image, axis=0) + 30
        rows, columns = np.nonzero(changed)
        if sample.labeled.all():
            assert columns.min() >= low[0] and columns.max() <= high[0]
            assert rows.min() >= low[1] and rows.max() <= high[1]
    assert hits / total > 0.995


def test_parts_are_exact_under_the_pixel_grid():
    """A figure moved by half a pixel moves its painted mass by the same amount, within OpenCV's smooth edges."""
    rng = np.random.default_rng(0)
    figure = draw_figure(rng, yaw=0.0, motion=MOTIONS[0], roll=0.0)
    middles = []
    for shift in (0.0, 0.5):
        image = np.zeros((260, 160, 3), np.uint8)
        figure.paint(image, 24.0, np.array([80.0 + shift, 110.0 + shift]))
        mass = image.sum(axis=2, dtype=np.float64)
        middles.append([(mass.sum(axis=k) * np.arange(mass.shape[1 - k])).sum() / mass.sum() for k in (0, 1)])
    np.testing.assert_allclose(np.diff(middles, axis=0), [[0.5, 0.5]], atol=0.1)


@pytest.mark.parametrize("part", ["shoulder", "hip"])
@pytest.mark.parametrize(("facing", "sign"), [("front", 1), ("back", -1)])
def test_left_and_right_follow_the_facing(part, facing, sign):
    rng = np.random.default_rng(2)
    for motion in MOTIONS:
        for _ in range(5):
            yaw = rng.uniform(-0.5, 0.5) + (0.0 if facing == "front" else math.pi)
            parts = draw_figure(rng, yaw, motion, roll=0.0).parts
            across = parts[LSP.index(f"left_{part}"), 0] - parts[LSP.index(f"right_{part}"), 0]
            assert sign * across > 0.1


@pytest.mark.parametrize(("facing", "eyes"), [("front", 2), ("back", 0)])
def test_face_tells_front_from_back(facing, eyes):
    rng = np.random.default_rng(4)
    for _ in range(20):
        figure = draw_figure(rng, 0.0 if facing == "front" else math.pi, MOTIONS[0], roll=0.0)
        seen = sum(layer.color == EYE_BGR for layer in figure.layers)
        assert seen <= eyes and (facing == "back" or seen >= 1)


def test_both_facings_are_common(samples):
    left, right = (
        np.array([sample.parts_image[LSP.index(f"{side}_shoulder"), 0] for sample in samples])
        for side in ("left", "right")
    )
    assert 0.45 < np.mean(left > right) < 0.75


def test_limb_ratios_are_those_of_people():
    rng = np.random.default_rng(5)
    parts = np.array([draw_figure(rng).parts for _ in range(400)])

    def length(a: str, b: str) -> np.ndarray:
        return np.linalg.norm(parts[:, LSP.index(a)] - parts[:, LSP.index(b)], axis=1)

    for a, b, ratio in LIMB_RATIOS:
        tolerance = RATIO_TOLERANCE.get((a, b), RATIO_TOLERANCE_NEIGHBORS)
        assert np.median(length(a, b) / length("neck", "head_top")) == pytest.approx(ratio, rel=tolerance), (a, b)


def test_others_stand_away_from_the_subject(samples):
    for sample in samples:
        for other in sample.others_image:
            if sample.labeled.all() and np.isfinite(other).all():
                middles = [(parts.min(axis=0) + parts.max(axis=0)) / 2 for parts in (sample.parts_image, other)]
                assert np.hypot(*(middles[0] - middles[1])) > 0.2 * sample.roi.side


def test_capsule_is_convex_and_holds_its_circles():
    ends = np.array([[[0.0, 0.0], [10.0, 3.0]], [[5.0, 5.0], [5.0, 5.5]]])
    radii = np.array([[3.0, 1.5], [2.0, 1.0]])
    for outline, axis, reach in zip(capsules(ends, radii), ends, radii, strict=True):
        edges = np.roll(outline, -1, axis=0) - outline
        following = np.roll(edges, -1, axis=0)
        turns = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
        assert (turns > -1e-9).all()
        to_ends = np.linalg.norm(outline[:, None] - axis, axis=2)
        assert (to_ends > reach - 1e-9).all()


@pytest.mark.parametrize("index", [-1, 5, 6])
def test_index_outside_is_an_error(index):
    with pytest.raises(IndexError, match="from 0 to 4"):
        DrawnFigures(5)[index]


@pytest.mark.parametrize(("count", "seed", "named"), [(0, 0, "count"), (-3, 0, "count"), (1, -1, "seed")])
def test_rejects(count, seed, named):
    with pytest.raises(ValueError, match=named):
        DrawnFigures(count, seed)
