"""Augmentation: image and points use one matrix, as pictures of colored dots show."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpm_fast.config import NetworkConfig, preset
from cpm_fast.data.augment import Draw, box_matrix, draw, recolor
from cpm_fast.data.loader import prepare
from cpm_fast.data.sample import Sample
from cpm_fast.recipes import AugmentationConfig
from cpm_fast.roi import Roi, transform
from cpm_fast.skeleton import Skeleton

BEETLE = Skeleton(
    "beetle",
    ("head", "left_claw", "right_claw", "left_leg", "right_leg", "tail"),
    pairs=(("left_claw", "right_claw"), ("left_leg", "right_leg")),
)
NETWORK = replace(preset("compact", BEETLE), input_size=(160, 192))
PEOPLE = 2
# One color per dot, BGR: each has a full channel, so that no dot's edge towards black looks like another dot.
HEX_COLORS = "ff0000 00ff00 0000ff ffff00 00ffff ff00ff ff8000 00ff80 8000ff 0080ff ff0080 80ff00"
COLORS = np.array([list(bytes.fromhex(color)) for color in HEX_COLORS.split()])
COLOR_TOLERANCE = 40
DOT_RADIUS_PX, SUBPIXEL_BITS = 7.0, 4
# The picture allows half a pixel: dots are painted to 1/16 px and found by whole pixels.
DOT_TOLERANCE_PX = 0.5
ALL_TURNED = AugmentationConfig(0.7, 1.3, 180.0, 8.0, 0.5)

draws = st.builds(
    Draw,
    scale=st.floats(0.5, 2.0),
    degrees=st.floats(-180.0, 180.0),
    shift=st.tuples(st.floats(-20, 20), st.floats(-20, 20)),
    flip=st.booleans(),
)
rois = st.builds(Roi, st.tuples(st.floats(-50, 300), st.floats(-50, 300)), st.floats(20, 800))
SIZES = st.sampled_from([(64, 64), (64, 96), (368, 368)])


def dotted(seed: int) -> tuple[Sample, np.ndarray]:
    """Return a black picture with a dot at every part of two people, none near another, and the dots [K, P, 2]."""
    random = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(np.arange(4), np.arange(3)), axis=-1).reshape(-1, 2)[random.permutation(12)]
    dots = 40 + 45 * places + random.uniform(-8, 8, (12, 2))
    image = np.zeros((170, 220, 3), np.uint8)
    fine = 2**SUBPIXEL_BITS
    for (x, y), color in zip(np.rint(dots * fine).astype(int).tolist(), COLORS.tolist(), strict=True):
        cv2.circle(image, (x, y), int(DOT_RADIUS_PX * fine), color, -1, cv2.LINE_AA, SUBPIXEL_BITS)
    people = dots.reshape(PEOPLE, len(BEETLE), 2)
    roi = Roi((random.uniform(70, 150), random.uniform(60, 110)), random.uniform(150, 220))
    return Sample(image, people[0], np.ones(len(BEETLE), bool), roi, "dots", others_image=people[1:]), people


def find_dot(crop: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Return the centroid (x, y) of the pixels of a color."""
    y, x = (np.abs(crop.astype(np.int16) - color.astype(np.int16)).max(axis=2) <= COLOR_TOLERANCE).nonzero()
    assert len(x), f"no dot of color {color} in the crop"
    return np.array([x.mean(), y.mean()])


@pytest.mark.parametrize("flip", [False, True], ids=["as it is", "mirrored"])
def test_image_and_points_move_together(flip):
    found = 0
    for seed in range(30):
        sample, _ = dotted(seed)
        drawn = replace(draw(ALL_TURNED, np.random.default_rng(seed)), flip=flip)
        item = prepare(sample, NETWORK, drawn)
        height, width = NETWORK.input_size
        reach = DOT_RADIUS_PX * 2
        for person in range(PEOPLE):
            for part, (x, y) in enumerate(item.parts_box[person].tolist()):
                if not (reach <= x <= width - 1 - reach and reach <= y <= height - 1 - reach):
                    continue
                # In a mirrored picture the dot of the left claw is at the label of the right claw.
                dot = person * len(BEETLE) + (BEETLE.mirror[part] if flip else part)
                assert np.abs(find_dot(item.crops, COLORS[dot]) - (x, y)).max() < DOT_TOLERANCE_PX
                found += 1
        assert item.drawn.all() and item.known.all()
    assert found > 30 * 4


def test_the_subject_stands_at_the_center_plus_its_shift():
    sample, _ = dotted(0)
    height, width = NETWORK.input_size
    shift = (5.25, -3.5)
    for flip in (False, True):
        item = prepare(sample, NETWORK, Draw(1.2, 33.0, shift, flip))
        x = (width - 1) / 2 + shift[0]
        wanted = [width - 1 - x if flip else x, (height - 1) / 2 + shift[1]]
        np.testing.assert_allclose(item.center_box, wanted, atol=1e-4)


def test_what_is_mirrored_changes_names_but_not_labels_of_others():
    sample, people = dotted(1)
    labeled = np.array([True, True, False, True, True, True])  # the right claw is not
    item = prepare(replace(sample, labeled=labeled), NETWORK, Draw(flip=True))
    assert item.drawn[0].tolist() == [True, False, True, True, True, True]
    assert item.known[0].tolist() == item.drawn[0].tolist()
    assert item.drawn[1].all()
    claw = transform(box_matrix(sample.roi, NETWORK.input_size, Draw(flip=True)), people[0, 1])  # the left one
    np.testing.assert_allclose(item.parts_box[0, BEETLE.index("right_claw")], claw, atol=1e-4)


@given(rois, SIZES)
def test_nothing_drawn_is_the_regions_own_matrix(roi, size):
    np.testing.assert_allclose(box_matrix(roi, size, Draw()), roi.matrix(size), rtol=1e-12, atol=1e-9)


@given(rois, SIZES, draws)
def test_flip_maps_x_to_width_minus_1_minus_x(roi, size, drawn):
    points = np.random.default_rng(0).uniform(-100, 400, (20, 2))
    plain = transform(box_matrix(roi, size, replace(drawn, flip=False)), points)
    mirrored = transform(box_matrix(roi, size, replace(drawn, flip=True)), points)
    np.testing.assert_allclose(mirrored, plain * (-1, 1) + (size[1] - 1, 0), rtol=1e-9, atol=1e-9)


@given(rois, SIZES, draws)
def test_distances_are_scaled_and_orientation_is_kept_but_for_a_flip(roi, size, drawn):
    linear = box_matrix(roi, size, drawn)[:, :2]
    scale = max(size) / roi.side * drawn.scale
    np.testing.assert_allclose(linear @ linear.T, scale**2 * np.eye(2), rtol=1e-9, atol=1e-9 * scale**2)
    assert np.sign(np.linalg.det(linear)) == (-1 if drawn.flip else 1)


def test_worked_by_hand():
    """(40, 45) is (10, 25) from the center; times 64 / 128 x 1.2 that is (6, 15); a quarter turn makes it (15, -6).

    The middle of the box is (31.5, 31.5), shifted (33.5, 28.5): the point comes to (48.5, 22.5), mirrored to 14.5.
    """
    roi, drawn = Roi((30.0, 20.0), 128.0), Draw(scale=1.2, degrees=90.0, shift=(2.0, -3.0))
    np.testing.assert_allclose(transform(box_matrix(roi, (64, 64), drawn), np.array([40.0, 45.0])), [48.5, 22.5])
    mirrored = box_matrix(roi, (64, 64), replace(drawn, flip=True))
    np.testing.assert_allclose(transform(mirrored, np.array([40.0, 45.0])), [14.5, 22.5])


def release_matrix(roi: Roi, size: tuple[int, int], drawn: Draw, image_size: tuple[int, int]) -> np.ndarray:
    """Return the release's four steps in turn: scale, turn about the image's center, crop about the subject, flip."""
    scale = max(size) / roi.side * drawn.scale
    angle = np.deg2rad(drawn.degrees)
    scaled = np.diag([scale, scale, 1.0])
    middle = scale * np.array([image_size[1], image_size[0]]) / 2
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    turn[:2, 2] = middle - turn[:2, :2] @ middle
    center = (turn @ scaled @ np.array([*roi.center, 1.0]))[:2]
    cropped = np.eye(3)
    cropped[:2, 2] = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2]) + drawn.shift - center
    flip = np.eye(3)
    if drawn.flip:
        flip[0] = -1.0, 0.0, size[1] - 1
    return (flip @ cropped @ turn @ scaled)[:2]


@given(rois, SIZES, draws)
def test_the_releases_order_of_steps_gives_the_same(roi, size, drawn):
    np.testing.assert_allclose(
        box_matrix(roi, size, drawn), release_matrix(roi, size, drawn, (170, 220)), rtol=1e-9, atol=1e-7
    )


RANGES = AugmentationConfig(scale_min=0.8, scale_max=1.1, rotate_degrees=25.0, shift_px=3.0, flip_probability=0.25)


def test_draws_fill_their_ranges_and_no_more():
    random = np.random.default_rng(0)
    drawn = [draw(RANGES, random) for _ in range(4000)]
    for values, low, high in (
        ([one.scale for one in drawn], 0.8, 1.1),
        ([one.degrees for one in drawn], -25.0, 25.0),
        ([one.shift[0] for one in drawn], -3.0, 3.0),
        ([one.shift[1] for one in drawn], -3.0, 3.0),
    ):
        assert low <= min(values) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < max(values) <= high
        assert np.histogram(values, 4, (low, high))[0].min() > 850
    assert 0.22 < np.mean([one.flip for one in drawn]) < 0.28


@pytest.mark.parametrize(("probability", "wanted"), [(0.0, {False}), (1.0, {True})], ids=["never", "always"])
def test_flip_probability_at_its_ends(probability, wanted):
    config = AugmentationConfig(flip_probability=probability)
    assert {draw(config, np.random.default_rng(seed)).flip for seed in range(50)} == wanted


def test_draws_depend_on_the_generator_alone():
    def some(config: AugmentationConfig) -> list[Draw]:
        random = np.random.default_rng(7)
        return [draw(config, random) for _ in range(5)]

    assert some(RANGES) == some(RANGES)
    # Each draw takes the same count of random numbers for all ranges.
    still = some(replace(RANGES, scale_min=1.0, scale_max=1.0, rotate_degrees=0.0, shift_px=0.0))
    assert [one.flip for one in still] == [one.flip for one in some(RANGES)]
    assert {(one.scale, abs(one.degrees), abs(one.shift[0])) for one in still} == {(1.0, 0.0, 0.0)}


def test_the_release_is_the_default():
    assert AugmentationConfig() == AugmentationConfig(0.7, 1.3, 40.0, 0.0, 0.5)
    assert NetworkConfig().padding_value == 128


@pytest.mark.parametrize(
    "fields",
    [
        {"scale_min": 0.0},
        {"scale_min": 1.5},
        {"rotate_degrees": -1.0},
        {"rotate_degrees": 181.0},
        {"shift_px": -1.0},
        {"flip_probability": 1.5},
        {"flip_probability": float("nan")},
    ],
    ids=str,
)
def test_ranges_that_are_none_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields)).split("_")[0]):
        AugmentationConfig(**fields)


def test_what_is_off_changes_nothing_and_later_draws_come_last():
    """The geometry of a seed equals that of versions without color and occlusion."""
    geometry = ("scale", "degrees", "shift", "flip")
    colored = replace(ALL_TURNED, center_px=4.0, brightness=0.2, contrast=0.3, saturation=0.4, occlude_probability=1.0)
    for seed in range(20):
        plain = draw(ALL_TURNED, np.random.default_rng(seed))
        full = draw(colored, np.random.default_rng(seed))
        assert all(getattr(plain, name) == getattr(full, name) for name in geometry)
        assert plain == Draw(plain.scale, plain.degrees, plain.shift, plain.flip, occluder_color=plain.occluder_color)
        assert max(map(abs, full.center_error)) <= 4 and full.center_error != (0, 0) and full.occluder is not None
        assert abs(full.brightness) <= 51 and abs(full.contrast - 1) <= 0.3 and abs(full.saturation - 1) <= 0.4
    crop = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(recolor(crop, Draw()), crop)


def test_color_by_hand():
    crop = np.full((4, 4, 3), (40, 80, 120), np.uint8)
    crop[2:] = (60, 100, 140)
    np.testing.assert_array_equal(recolor(crop, Draw(brightness=10.0)), crop + 10)
    np.testing.assert_array_equal(recolor(crop, Draw(brightness=400.0)), np.full_like(crop, 255))
    gray = recolor(crop, Draw(saturation=0.0))
    assert (gray == gray[..., :1]).all() and gray[0, 0, 0] == round(0.114 * 40 + 0.587 * 80 + 0.299 * 120)
    np.testing.assert_array_equal(recolor(crop, Draw(contrast=0.0)), np.full_like(crop, 90))


def test_an_occluder_covers_its_rectangle_and_leaves_labels_and_sample():
    sample, _ = dotted(0)
    before = sample.image.copy()
    plain = prepare(sample, NETWORK, Draw())
    hidden = prepare(sample, NETWORK, Draw(occluder=(0.25, 0.5, 0.75, 1.0), occluder_color=(9, 8, 7)))
    height, width = NETWORK.input_size
    covered = (hidden.crops == (9, 8, 7)).all(axis=2)
    assert covered[height // 2 :, width // 4 : 3 * width // 4].all() and covered.sum() == height * width // 4
    np.testing.assert_array_equal(hidden.crops[~covered], plain.crops[~covered])
    np.testing.assert_array_equal(hidden.drawn, plain.drawn)
    np.testing.assert_array_equal(sample.image, before)


def test_the_center_that_is_told_is_off_and_the_parts_are_not():
    sample, _ = dotted(0)
    plain, off = (prepare(sample, NETWORK, Draw(center_error=error)) for error in ((0.0, 0.0), (3.0, -2.0)))
    np.testing.assert_allclose(off.center_box - plain.center_box, (3.0, -2.0), atol=1e-4)
    np.testing.assert_array_equal(off.parts_box, plain.parts_box)


@pytest.mark.parametrize(
    "field", ["center_px", "brightness", "contrast", "saturation", "occlude_probability", "occlude_share"]
)
def test_ranges_of_color_and_occlusion(field):
    for value in (-0.1, float("nan"), 1.5 if field != "center_px" else float("inf")):
        with pytest.raises(ValueError, match=f"{field} must be"):
            AugmentationConfig(**{field: value})
