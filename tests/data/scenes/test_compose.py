"""Scenes: regions are at the subjects, and subjects without a known region do not count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cpm_fast.config import preset
from cpm_fast.data.augment import Draw
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.loader import TrainingItems
from cpm_fast.data.sample import Sample
from cpm_fast.data.scenes import backgrounds, mosaic, pasting
from cpm_fast.data.scenes import compose as module
from cpm_fast.data.scenes.backgrounds import Backgrounds
from cpm_fast.data.scenes.compose import compose
from cpm_fast.data.scenes.loader import SceneItems
from cpm_fast.data.scenes.material import Material
from cpm_fast.data.scenes.pasting import cut_out, hide_end
from cpm_fast.data.scenes.scene import (
    LEAST_SIDE,
    ignored_of,
    region_in_part,
    scene_of,
    seen_subject,
    subjects_of,
)
from cpm_fast.recipes import RECIPES, AugmentationConfig
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP, Skeleton

NETWORK = preset("finder")
STILL = AugmentationConfig(rotate_degrees=0.0, flip_probability=0.0)
SQUARE = (200, 80, 120)


def marked(side: int = 40, at: tuple[int, int] = (60, 50), size: tuple[int, int] = (120, 160)) -> Sample:
    """Return a picture of noise with a plain square, the subject: five parts on its edges and in its middle."""
    image = np.random.default_rng(0).integers(0, 60, (*size, 3), dtype=np.uint8)
    x, y = at
    image[y : y + side, x : x + side] = SQUARE
    ends = [(0, 0), (side - 1, 0), (0, side - 1), (side - 1, side - 1), (side // 2, side // 2)]
    parts = np.array([(x + a, y + b) for a, b in ends], float)
    roi = Roi.from_box((x - 0.5, y - 0.5, x + side - 0.5, y + side - 0.5), NETWORK.margin)
    return Sample(image, parts, np.ones(5, bool), roi, "marked")


SKELETON = Skeleton("square", ("a", "b", "c", "d", "e"))
SQUARES = Material(lambda: marked(), SKELETON, NETWORK, STILL)
FIGURES = Material(lambda: DrawnFigures(3)[1], LSP, NETWORK, STILL)


@pytest.fixture(autouse=True)
def scenes_that_fill_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off what has tests of its own: frames, close views, fields without a subject, and groups."""
    monkeypatch.setattr(module, "FRAMED_SHARE", 0.0)
    monkeypatch.setattr(mosaic, "CLOSE_SHARE", 0.0)
    monkeypatch.setattr(mosaic, "EMPTY_FIELD", 0.0)
    monkeypatch.setattr(pasting, "GROUP_SHARE", 0.0)


def found_square(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the middle and the side of the plain square in an image."""
    there = (np.abs(image.astype(int) - SQUARE).max(axis=2) < 30).nonzero()
    y, x = (np.quantile(each, (0.02, 0.98)) for each in there)
    return np.array([x.mean(), y.mean()]), float(max(np.ptp(x), np.ptp(y)))


@pytest.mark.parametrize("seed", range(6))
def test_a_whole_picture_keeps_its_subject_under_its_region(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE_SHARE", 1.0)
    monkeypatch.setattr(module, "WHOLE_SCALE", (0.6, 1.0))
    scene = compose(marked(), SQUARES, np.random.default_rng(seed))
    assert scene.image.shape == (256, 256, 3) and scene.doubtful
    (roi,) = scene.rois
    middle, side = found_square(scene.image)
    assert np.abs(middle - roi.center).max() < 2.5
    assert side * NETWORK.margin == pytest.approx(roi.side, rel=0.1)


def test_a_complete_picture_is_always_seen_whole_and_never_doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE_SHARE", 0.0)
    for seed in range(20):
        scene = compose(replace(marked(), complete=True), SQUARES, np.random.default_rng(seed))
        assert len(scene.rois) + len(scene.ignored) == 1 and not scene.doubtful


@pytest.mark.parametrize("seed", range(6))
def test_a_pasted_subject_lies_under_its_region(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE_SHARE", 0.0)
    monkeypatch.setattr(module, "MOSAIC_SHARE", 0.0)
    monkeypatch.setattr(module, "EMPTY_SHARE", 0.0)
    monkeypatch.setattr(backgrounds, "DRAWN_SHARE", 1.0)
    monkeypatch.setattr(
        backgrounds, "draw_background", lambda random, height, width: np.zeros((height, width, 3), np.uint8)
    )
    monkeypatch.setattr(pasting, "PASTED_SHARES", (1.0,))
    monkeypatch.setattr(pasting, "PASTED_SIDE", (0.3, 0.4))
    monkeypatch.setattr(pasting, "PASTED_BEYOND", -0.3)
    monkeypatch.setattr(pasting, "HIDDEN_SHARE", 0.0)
    scene = compose(marked(), SQUARES, np.random.default_rng(seed))
    assert len(scene.rois) == 1 and not scene.ignored and not scene.doubtful
    middle, _ = found_square(scene.image)
    assert np.abs(middle - scene.rois[0].center).max() < 4


def test_a_cut_out_is_the_subject_alone() -> None:
    sample = DrawnFigures(3)[1]
    image, mask, subject = cut_out(sample, FIGURES, 90, Draw())
    assert image.shape == (90, 90, 3) and mask.shape == (90, 90)
    assert 0.05 < mask.mean() < 0.6 and mask.max() == pytest.approx(1, abs=0.02)
    assert subject.roi.side == pytest.approx(90) and subject.roi.center == pytest.approx((44.5, 44.5), abs=0.6)
    x, y = np.clip(subject.parts.round().astype(int), 0, 89).T
    assert mask[y, x].mean() > 0.8


def test_a_hidden_end_is_neither_in_the_mask_nor_in_the_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pasting, "HIDDEN_ENDS", (0.0, 0.0, 0.0, 1.0))
    monkeypatch.setattr(pasting, "HIDDEN_PART", (0.4, 0.4))
    _, mask, subject = cut_out(DrawnFigures(3)[1], FIGURES, 90, Draw())
    low, high = subject.parts[:, 1].min(), subject.parts[:, 1].max()
    line = high - 0.4 * (high - low)
    left_over, upper = hide_end(mask, subject, np.random.default_rng(0))
    assert not left_over[round(line) + 1 :].any() and np.array_equal(left_over[: round(line)], mask[: round(line)])
    assert mask[round(line) + 1 :].any()
    assert np.array_equal(upper.parts, subject.parts[subject.parts[:, 1] < round(line)])
    assert upper.roi.side < 0.8 * subject.roi.side and upper.roi.center[1] < subject.roi.center[1] - 5


def test_a_subject_of_few_parts_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pasting, "HIDDEN_PART", (0.9, 0.9))
    _, mask, subject = cut_out(DrawnFigures(3)[1], FIGURES, 90, Draw())
    same_mask, same = hide_end(mask, subject, np.random.default_rng(0))
    assert same_mask is mask and same is subject


def test_an_empty_scene_has_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE_SHARE", 0.0)
    monkeypatch.setattr(module, "MOSAIC_SHARE", 0.0)
    monkeypatch.setattr(module, "EMPTY_SHARE", 1.0)
    scene = compose(marked(), SQUARES, np.random.default_rng(1))
    assert not scene.rois and not scene.ignored


@pytest.mark.parametrize("seed", range(4))
def test_a_background_is_mirrored_surroundings_without_the_subject(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backgrounds, "DRAWN_SHARE", 0.0)
    image, doubtful = backgrounds.background_of(SQUARES, np.random.default_rng(seed))
    assert image.shape == (256, 256, 3) and doubtful
    assert image.max() < 60 and image.reshape(16, 16, 16, 16, 3).std(axis=(1, 3)).min() > 0  # noise in every tile


@pytest.mark.parametrize("shape", [(40, 90), (300, 1000), (2, 1)])
def test_a_given_background_fills_the_scene(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE_SHARE", 0.0)
    monkeypatch.setattr(module, "MOSAIC_SHARE", 0.0)
    monkeypatch.setattr(module, "EMPTY_SHARE", 1.0)
    monkeypatch.setattr(backgrounds, "GIVEN_SHARE", 1.0)
    picture = np.random.default_rng(0).integers(90, 100, (*shape, 3), dtype=np.uint8)
    for seed in range(3):
        random = np.random.default_rng(seed)
        scene = compose(marked(), replace(SQUARES, background=lambda: picture), random)
        assert scene.image.shape == (256, 256, 3) and not scene.rois and not scene.doubtful
        assert scene.image.min() >= 90 and scene.image.max() < 100


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_mosaic_has_every_subject_under_its_region(seed: int, flip: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE_SHARE", 0.0)
    monkeypatch.setattr(module, "MOSAIC_SHARE", 1.0)
    monkeypatch.setattr(mosaic, "MOSAIC_GRIDS", ((2, 2),))
    monkeypatch.setattr(mosaic, "MOSAIC_ZOOM", 1.1)
    still = replace(STILL, flip_probability=flip)
    places = iter([(60, 50), (62, 30), (44, 48), (50, 50)])
    material = Material(lambda: marked(at=next(places)), SKELETON, NETWORK, still)
    scene = compose(marked(at=next(places)), material, np.random.default_rng(seed))
    assert scene.doubtful and len(scene.rois) + len(scene.ignored) == 4
    for roi in scene.rois:
        x, y = (round(at) for at in roi.center)
        half = round(roi.side / NETWORK.margin / 2)
        square = np.abs(scene.image.astype(int) - SQUARE).max(axis=2) < 30
        inner, outer = half - 3, half + 3
        assert square[max(0, y - inner) : y + inner, max(0, x - inner) : x + inner].mean() > 0.9
        # The neighbors' squares may lie beyond the lines, which are near the middle.
        assert not square[y, [at for at in (x - outer, x + outer) if 0 <= at < 256 and abs(at - 128) > 40]].any()


@pytest.mark.parametrize("flip", [False, True])
def test_a_field_of_a_mosaic_is_mirrored_as_drawn(flip: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosaic, "MOSAIC_ZOOM", 1.0)
    sample = marked()
    sample.image[:, :20, 1] = 255  # the left edge is green
    field = mosaic._filling(sample, sample.image.shape[:2], Draw(flip=flip), SQUARES, np.random.default_rng(0))
    green = field.image[:, :, 1].mean(axis=0)
    assert (green[-20:] if flip else green[:20]).min() > 250
    assert np.array_equal(field.image, sample.image[:, ::-1] if flip else sample.image)


def test_a_subject_that_is_cut_has_the_region_of_what_is_left() -> None:
    sample = marked(at=(100, 50))
    (whole,) = scene_of(sample.image, subjects_of(sample, SKELETON, NETWORK.margin)).rois
    cut = scene_of(sample.image[:, :125], subjects_of(sample, SKELETON, NETWORK.margin))
    assert not cut.rois and len(cut.ignored) == 1  # three of five parts, and fewer than four
    subject = subjects_of(DrawnFigures(3)[1], LSP, NETWORK.margin)[0]
    low = subject.parts[:, 1].max() - 15
    roi, square = seen_subject(subject, (int(low), 400))
    assert square is None and roi is not None
    assert roi.side < subject.roi.side and roi.center[1] < subject.roi.center[1] and whole.side == pytest.approx(56)


def test_crowds_and_people_in_part_do_not_count() -> None:
    others = np.full((2, 5, 2), np.nan)
    others[0, :2] = [(10, 10), (30, 40)]  # a box of two parts gives a region
    others[1, 0] = (140, 100)
    sample = replace(marked(), others_image=others, ignored_image=np.array([[0.0, 80.0, 40.0, 120.0]]))
    assert len(subjects_of(sample, SKELETON, NETWORK.margin)) == 2
    squares = ignored_of(sample, SKELETON, NETWORK.margin)
    assert [square.center for square in squares] == [(20.0, 100.0), (140.0, 100.0)]


def test_items_are_functions_of_seed_epoch_and_sample() -> None:
    def scene(seed: int, key: tuple[int, int]) -> np.ndarray:
        items = SceneItems(TrainingItems([DrawnFigures(5)], NETWORK, RECIPES["find"].augmentation, seed))
        made = items[key]
        assert not isinstance(made, str)
        return made.image

    first = scene(0, (1, 2))
    assert np.array_equal(first, scene(0, (1, 2)))
    assert not np.array_equal(first, scene(0, (2, 2))) and not np.array_equal(first, scene(1, (1, 2)))


def test_a_sample_that_cannot_be_read_is_left_out() -> None:
    class Broken(DrawnFigures):
        def __getitem__(self, index: int) -> Sample:
            raise OSError("gone")

    items = SceneItems(TrainingItems([Broken(3)], NETWORK, STILL, 0))
    assert items[(0, 1)] == "sample 1 left out: gone"
    batch = items.collate([items[(0, 1)]])
    assert len(batch.crops) == 0 and batch.unreadable == ("sample 1 left out: gone",)


def test_a_background_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WHOLE_SHARE", 0.0)
    monkeypatch.setattr(module, "MOSAIC_SHARE", 0.0)
    monkeypatch.setattr(backgrounds, "GIVEN_SHARE", 1.0)
    (tmp_path / "cage").mkdir()
    (tmp_path / "cage" / "empty.png").write_bytes(b"no picture")
    items = TrainingItems([DrawnFigures(5)], NETWORK, RECIPES["find"].augmentation, 0)
    message = SceneItems(items, Backgrounds.of_folder(tmp_path))[(0, 1)]
    assert isinstance(message, str) and message.startswith("sample 1 left out: ") and "empty.png" in message


@pytest.mark.parametrize("seed", range(4))
def test_a_framed_scene_has_its_regions_in_the_frame_and_nothing_around_it(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WHOLE_SHARE", 0.0)
    monkeypatch.setattr(module, "MOSAIC_SHARE", 1.0)
    monkeypatch.setattr(module, "FRAMED_SHARE", 1.0)
    monkeypatch.setattr(module, "FRAMED_SIDE", (0.5, 0.6))
    monkeypatch.setattr(mosaic, "MOSAIC_GRIDS", ((1, 1),))
    monkeypatch.setattr(mosaic, "MOSAIC_ZOOM", 1.0)
    still = replace(SQUARES, augmentation=replace(STILL, brightness=0.0, contrast=0.0, saturation=0.0))
    scene = compose(marked(at=(60, 40)), still, np.random.default_rng(seed))
    around = (scene.image == NETWORK.padding_value).all(axis=2)
    rows, columns = (~around).any(axis=1).nonzero()[0], (~around).any(axis=0).nonzero()[0]
    assert 125 <= np.ptp(rows) <= 155 and 125 <= np.ptp(columns) <= 155
    (roi,) = scene.rois
    middle, _ = found_square(scene.image)
    assert np.abs(middle - roi.center).max() < 3


def test_a_small_frame_has_no_tiny_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosaic, "MOSAIC_GRIDS", ((2, 4),))
    small = replace(SQUARES, shown=(70, 150))
    scene = mosaic.mosaic(marked(), small, np.random.default_rng(0))
    assert len(scene.rois) + len(scene.ignored) == 1


@pytest.mark.parametrize("seed", range(4))
def test_a_close_view_ends_at_a_line_through_the_subject(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosaic, "CLOSE_SHARE", 1.0)
    monkeypatch.setattr(mosaic, "HIDDEN_ENDS", (0.0, 0.0, 0.0, 1.0))
    monkeypatch.setattr(mosaic, "HIDDEN_PART", (0.4, 0.4))
    monkeypatch.setattr(mosaic, "CLOSE_ROOM", (1.0, 1.02))
    monkeypatch.setattr(mosaic, "CLOSE_ZOOM", 9.0)
    sample = DrawnFigures(3)[1]
    parts = sample.parts_image
    line = parts[:, 1].max() - 0.4 * np.ptp(parts[:, 1])
    view = mosaic._close(sample, np.array([120.0, 120.0]), np.random.default_rng(seed))
    assert view is not None
    scale, middle = view
    assert middle[1] + 60 / scale == pytest.approx(line, abs=1) and middle[1] - 60 / scale < parts[:, 1].min() + 1
    scene = mosaic._filling(sample, (120, 120), Draw(), FIGURES, np.random.default_rng(seed))
    whole = subjects_of(sample, LSP, NETWORK.margin)[0].roi
    assert len(scene.rois) == 1 and scene.rois[0].side < 0.85 * scale * whole.side


def test_a_view_of_a_subject_with_few_parts_is_not_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosaic, "CLOSE_SHARE", 1.0)
    sample = marked()
    nobody = replace(sample, labeled=np.zeros(5, bool))
    assert mosaic._close(nobody, np.array([90.0, 90.0]), np.random.default_rng(0)) is None


def test_a_field_may_have_no_subject(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosaic, "MOSAIC_GRIDS", ((2, 2),))
    monkeypatch.setattr(mosaic, "MOSAIC_ZOOM", 1.0)
    monkeypatch.setattr(mosaic, "EMPTY_FIELD", 1.0)
    assert len(mosaic.mosaic(marked(), SQUARES, np.random.default_rng(0)).rois) == 1


def test_subjects_in_a_group_are_of_a_size_and_stand_beside_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pasting, "GROUP_SHARE", 1.0)
    sides, middles = pasting._places(5, (256, 256), np.random.default_rng(3))
    assert sides.max() / sides.min() < 1.6
    assert (np.diff(middles[:, 0]) > 0.2 * sides.min()).all() and (np.diff(middles[:, 0]) < 0.61 * sides.max()).all()


def test_the_region_of_a_part_reaches_to_the_line_that_cuts_the_subject() -> None:
    # A person of 100 px, upright: head, shoulders, hips, feet.
    parts = np.array([(50, 0), (40, 20), (60, 20), (44, 55), (56, 55), (45, 100), (55, 100)], float)
    whole = Roi((50.0, 50.0), 160.0)
    cut = region_in_part(whole, parts, parts[:, 1] < 70, (0, 0, 200, 70))
    assert cut.side == pytest.approx(0.7 * 160) and cut.center == pytest.approx((50, 35))
    # Nothing is cut off below the hips if no part is there.
    same = region_in_part(whole, parts, np.ones(7, bool), (0, 0, 200, 300))
    assert same == whole
    bust = region_in_part(whole, parts, parts[:, 1] < 25, (0, 0, 200, 25))
    assert bust.side == pytest.approx(LEAST_SIDE * 160) and bust.center == pytest.approx((50, 12.5))
