"""Shifted and cut regions, half bodies, and changes of pixels, tested on dots and their labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cpm_fast.data.augment import Draw, draw
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.effects import on_background, recompressed, subject_mask, surroundings, with_piece
from cpm_fast.data.loader import Item, TrainingItems, prepare
from cpm_fast.data.regions import border, half, refit, view
from cpm_fast.data.sample import Sample
from cpm_fast.recipes import RECIPES, AugmentationConfig, TrainingConfig
from cpm_fast.roi import Roi
from data.test_augment import BEETLE, COLORS, DOT_TOLERANCE_PX, NETWORK, dotted, find_dot

NOTHING_OFF = Draw()
OTHER = np.full((50, 60, 3), (10, 200, 90), np.uint8)
ANOTHER = Sample(OTHER, np.full((len(BEETLE), 2), 25.0), np.ones(len(BEETLE), bool), None, "another")
CHANGES = {
    "region off": Draw(region_error=(0.06, -0.04, 0.1)),
    "whole picture": Draw(whole=True),
    "upper half": Draw(half=0),
    "lower half, mirrored": Draw(half=1, flip=True),
    "cut on the left, turned": Draw(border=(0, 0.4), degrees=20.0),
    "cut on the right": Draw(border=(2, 0.3)),
    "cut at the top, mirrored": Draw(border=(1, 0.35), flip=True),
    "cut at the bottom": Draw(border=(3, 0.35)),
    "half, cut and off": Draw(half=0, border=(3, 0.2), region_error=(0.02, 0.02, 0.05), flip=True),
}


@pytest.mark.parametrize("drawn", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("seed", range(4))
def test_labels_stay_on_their_dots(drawn, seed):
    sample, _ = dotted(seed)
    item = prepare(sample, NETWORK, drawn)
    colors = COLORS.reshape(2, len(BEETLE), 3)
    mirror = list(BEETLE.mirror) if drawn.flip else range(len(BEETLE))
    seen = 0
    for person in range(2):
        for part, source in enumerate(mirror):
            point = item.parts_box[person, part]
            room = 8.0 * max(NETWORK.input_size) / view(sample, NETWORK.margin, drawn).roi.side
            within = ((point > room) & (point < np.array(NETWORK.input_size[::-1]) - room)).all()
            if item.drawn[person, part] and within:
                # A dot that the edge cuts has its middle elsewhere.
                if drawn.border is None:
                    found = find_dot(item.crops, colors[person, source])
                    assert np.abs(found - point).max() < DOT_TOLERANCE_PX + 0.5 * room / 8
                x, y = np.rint(point).astype(int)
                assert np.abs(item.crops[y, x].astype(int) - colors[person, source]).max() < 60
                seen += 1
    assert seen >= 1
    np.testing.assert_array_equal(sample.image, dotted(seed)[0].image)


@pytest.mark.parametrize("side", range(4), ids=["left", "top", "right", "bottom"])
def test_behind_the_edge_there_is_nothing(side):
    drawn = Draw(border=(side, 0.4))
    # The picture stays whole if too few parts would be left.
    cut = [seed for seed in range(9) if view(dotted(seed)[0], NETWORK.margin, drawn).bounds != (0, 0, 220, 170)]
    sample, people = dotted(cut[0])
    roi = sample.region(NETWORK.margin)
    sample = replace(sample, roi=Roi(roi.center, 2 * roi.side))
    seen = view(sample, NETWORK.margin, drawn)
    item = prepare(sample, NETWORK, drawn)
    left, top, right, bottom = seen.bounds
    inside = (people >= (left, top)).all(2) & (people < (right, bottom)).all(2)
    assert 0 < inside[0].sum() < len(BEETLE), "the line goes through the subject"
    np.testing.assert_array_equal(item.drawn, inside)
    assert item.known.all(), "what is cut off is known not to be there"
    scale = max(NETWORK.input_size) / seen.roi.side
    height, width = NETWORK.input_size
    line = {0: left, 1: top, 2: right, 3: bottom}[side]
    at = round(scale * (line - seen.roi.center[side % 2]) + (width, height)[side % 2] / 2)
    beyond = [item.crops[:, : at - 3], item.crops[: at - 3], item.crops[:, at + 3 :], item.crops[at + 3 :]][side]
    assert beyond.size and (beyond == NETWORK.padding_value).all()
    np.testing.assert_allclose(item.center_box, ((width - 1) / 2, (height - 1) / 2), atol=1e-3)


def test_half_a_body_by_hand():
    upright = np.array([(5.0, 0), (0, 10), (10, 10), (4, 40), (6, 40), (5, 52), (5, 5), (5, 45)])
    upper = upright[[0, 1, 2, 6]]
    assert half(upright, 0).tolist() == upper.tolist() and half(upright, 1).tolist() == upright[[3, 4, 5, 7]].tolist()
    roi = Roi((5.0, 30.0), 80.0)
    assert refit(roi, upright, upright) == roi
    smaller = refit(roi, upright, upper)
    assert smaller.side == 80.0 * 0.5 and smaller.center == (5.0, pytest.approx(5.0 + 0.5 * (30 - 26)))


def test_a_border_by_hand():
    parts = np.array([(10.0, 20.0), (20.0, 20.0), (30.0, 60.0), (50.0, 40.0)])
    bounds, kept = border(parts, (0, 0, 100, 80), 0, 0.25)
    assert bounds == (20, 0, 100, 80) and kept.tolist() == parts[1:].tolist()
    bounds, kept = border(parts, (0, 0, 100, 80), 3, 0.5)
    assert bounds == (0, 0, 100, 40) and kept.tolist() == parts[:2].tolist()
    assert border(parts, (0, 0, 1, 1), 0, 0.5)[0] == (0, 0, 1, 1)


def test_a_region_is_off_by_shares_of_its_side():
    sample, _ = dotted(2)
    roi = sample.region(NETWORK.margin)
    off = view(sample, NETWORK.margin, Draw(region_error=(0.1, -0.2, np.log(1.5)))).roi
    assert off.side == pytest.approx(1.5 * roi.side)
    assert off.center == pytest.approx((roi.center[0] + 0.1 * roi.side, roi.center[1] - 0.2 * roi.side))
    item = prepare(sample, NETWORK, Draw(region_error=(0.1, -0.2, 0.0)))
    plain = prepare(sample, NETWORK, NOTHING_OFF)
    # The network gets only the region's center, as in inference.
    np.testing.assert_array_equal(item.center_box, plain.center_box)
    moved = plain.parts_box + np.array([-0.1, 0.2]) * max(NETWORK.input_size)
    np.testing.assert_allclose(item.parts_box, moved, atol=1e-3)


def test_the_whole_picture_is_no_region_of_a_small_subject():
    sample, _ = dotted(2)
    whole = Roi.whole_image(*sample.image.shape[:2])
    assert view(sample, NETWORK.margin, Draw(whole=True)).roi == whole
    small = replace(sample, roi=Roi((100.0, 80.0), 0.4 * whole.side))
    assert view(small, NETWORK.margin, Draw(whole=True)).roi == small.roi


def test_another_background_leaves_the_people():
    sample, _ = dotted(0)
    plain = prepare(sample, NETWORK, NOTHING_OFF)
    item = prepare(sample, NETWORK, Draw(background=True), ANOTHER)
    for name in ("parts_box", "drawn", "known", "center_box"):
        np.testing.assert_array_equal(getattr(item, name), getattr(plain, name))
    for x, y in np.rint(item.parts_box[item.drawn]).astype(int):
        if 0 <= x < NETWORK.input_size[1] and 0 <= y < NETWORK.input_size[0]:
            assert np.abs(item.crops[y, x].astype(int) - plain.crops[y, x]).max() <= 20
    behind = (item.crops == OTHER[0, 0]).all(axis=2)
    assert 0.1 < behind.mean() < 0.95
    unknown = replace(sample, labeled=np.arange(len(BEETLE)) < 4)
    np.testing.assert_array_equal(prepare(unknown, NETWORK, Draw(background=True), ANOTHER).crops, plain.crops)


def test_surroundings_are_without_the_subject():
    image = np.zeros((40, 100, 3), np.uint8)
    image[:, 60:] = 255
    parts = np.array([(20.0, 5.0), (59.2, 35.0), (40, 20), (40, 20), (40, 20), (40, 20)])
    sample = Sample(image, parts, np.ones(6, bool), None, "strip")
    found = surroundings(sample)
    assert found.shape == (40, 39, 3) and (found == 255).all()
    assert surroundings(replace(sample, parts_image=parts * (1.6, 1))).shape == (40, 32, 3)
    full = replace(sample, parts_image=np.array([(2.0, 1), (98, 39), (40, 20), (40, 20), (40, 20), (40, 20)]))
    assert surroundings(full) is image
    assert surroundings(replace(sample, labeled=np.zeros(6, bool))) is image


def test_a_mask_has_limbs_and_trunk():
    skeleton = DrawnFigures(1, seed=0).skeleton
    parts = 20.0 + DrawnFigures(1, seed=0)[0].parts_image[None] / 4
    mask = subject_mask((160, 160), parts, np.ones((1, len(skeleton)), bool), skeleton)
    assert mask.shape == (160, 160) and mask.dtype == np.float32 and mask.min() >= 0 and mask.max() <= 1
    for a, b in skeleton.limb_indices:
        x, y = np.rint((parts[0, a] + parts[0, b]) / 2).astype(int)
        assert mask[y, x] > 0.9
    assert mask[0, 0] == 0 and mask.mean() < 0.9
    assert not subject_mask((160, 160), parts, np.zeros((1, len(skeleton)), bool), skeleton).any()


@pytest.mark.parametrize("rounded", [False, True], ids=["rectangle", "ellipse"])
def test_a_piece_covers_its_place(rounded):
    crop = np.zeros((40, 80, 3), np.uint8)
    made = with_piece(crop, OTHER, (0.25, 0.5, 0.75, 1.0), (0.3, 0.9), rounded)
    covered = (made == OTHER[0, 0]).all(axis=2)
    assert covered[30, 40] and not covered[:20].any() and not covered[:, :20].any() and not crop.any()
    assert covered.sum() == (20 * 40 if not rounded else pytest.approx(np.pi / 4 * 20 * 40, rel=0.08))
    np.testing.assert_array_equal(with_piece(crop, OTHER, (0.5, 0.5, 0.5, 0.9), (0, 0), rounded), crop)


def test_a_piece_is_of_the_place_it_is_from():
    other = np.zeros((100, 100, 3), np.uint8)
    other[-30:, -30:] = 255
    made = with_piece(np.zeros((40, 40, 3), np.uint8), other, (0.0, 0.0, 0.25, 0.25), (1.0, 1.0), False)
    assert made[:10, :10].all() and not made[10:].any()


def test_blur_and_jpeg():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    sample = Sample(noise, np.full((6, 2), 30.0), np.ones(6, bool), Roi((32.0, 32.0), 64.0), "noise")
    plain, blurred, packed = (
        prepare(sample, NETWORK, drawn).crops for drawn in (NOTHING_OFF, Draw(blur=2.0), Draw(jpeg_quality=20))
    )
    assert blurred.std() < 0.7 * plain.std() and abs(blurred.mean() - plain.mean()) < 2
    np.testing.assert_array_equal(packed, recompressed(plain, 20))
    errors = [np.abs(recompressed(plain, quality).astype(int) - plain).mean() for quality in (10, 40, 95)]
    assert errors[0] > errors[1] > errors[2] > 0


def test_a_picture_of_one_color_stays_it():
    same = on_background(OTHER, np.full(OTHER.shape[:2], 0.3, np.float32), OTHER)
    assert np.abs(same.astype(int) - OTHER).max() <= 1


def test_draws_are_as_often_and_as_large_as_asked_for():
    config = RECIPES["long"].augmentation
    random = np.random.default_rng(3)
    drawn = [draw(config, random) for _ in range(6000)]
    shares = {
        "whole": config.whole_probability,
        "background": config.background_probability,
        "half": config.half_probability,
        "border": config.border_probability,
        "piece": config.paste_probability,
        "blur": config.blur_probability,
        "jpeg_quality": config.jpeg_probability,
    }
    for name, wanted in shares.items():
        happened = [getattr(one, name) not in (None, False, 0.0) or (name == "half" and one.half == 0) for one in drawn]
        assert np.mean(happened) == pytest.approx(wanted, abs=0.02), name
    errors = np.array([one.region_error for one in drawn])
    np.testing.assert_allclose(errors.std(axis=0), [config.region_center] * 2 + [config.region_scale], rtol=0.05)
    assert np.abs(errors).max() <= 3 * max(config.region_center, config.region_scale)
    borders = [one.border for one in drawn if one.border]
    assert {side for side, _ in borders} == {0, 1, 2, 3} and 0.45 < max(share for _, share in borders) <= 0.5
    qualities = [one.jpeg_quality for one in drawn if one.jpeg_quality is not None]
    assert min(qualities) >= config.jpeg_quality and max(qualities) <= 95 and len(set(qualities)) > 50
    assert all(one.needs_other == (one.background or one.piece is not None) for one in drawn)


def test_the_other_picture_is_a_function_of_seed_epoch_and_sample():
    data = DrawnFigures(6, seed=1)
    network = replace(NETWORK, skeleton=data.skeleton)
    config = AugmentationConfig(paste_probability=1.0, background_probability=1.0)
    items = [TrainingItems([data], network, config, seed=5) for _ in range(2)]
    first, again = (one[0, 3] for one in items)
    assert isinstance(first, Item) and isinstance(again, Item)
    np.testing.assert_array_equal(first.crops, again.crops)
    plain = TrainingItems([data], network, AugmentationConfig(), seed=5)[0, 3]
    assert isinstance(plain, Item) and (plain.crops != first.crops).any()
    np.testing.assert_array_equal(plain.parts_box, first.parts_box)


def test_an_other_picture_that_cannot_be_read_is_left_out():
    class Damaged:
        name, skeleton = "damaged", DrawnFigures(1, seed=0).skeleton
        good = DrawnFigures(1, seed=0)

        def __len__(self):
            return 2

        def __getitem__(self, index):
            if index:
                raise ValueError("damaged")
            return self.good[0]

    config = AugmentationConfig(paste_probability=1.0)
    items = TrainingItems([Damaged()], replace(NETWORK, skeleton=Damaged.skeleton), config, seed=0)
    assert all(isinstance(items[epoch, 0], Item) for epoch in range(8))


@pytest.mark.parametrize("field", ["region_center", "region_scale", "border_share", "blur_px", "paste_probability"])
def test_ranges(field):
    for value in (-0.1, float("nan"), 2.0 if field != "blur_px" else float("inf")):
        with pytest.raises(ValueError, match=f"{field} must be"):
            AugmentationConfig(**{field: value})


@pytest.mark.parametrize("quality", [0, 96, 20.5, True])
def test_qualities(quality):
    with pytest.raises(ValueError, match="jpeg_quality must be a whole number from 1 to 95"):
        AugmentationConfig(jpeg_quality=quality)


def test_the_long_recipe_goes_through_json():
    assert TrainingConfig.from_dict(RECIPES["long"].to_dict()) == RECIPES["long"]
