"""Regions and frames: the worked numbers of their docstrings, the released scales, and round trips."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpm_fast.data.formats.lsp import LeedsSports
from cpm_fast.roi import LIMB_RATIOS, Frame, Roi, transform
from cpm_fast.skeleton import FLIC, LSP, Skeleton

BOX = (368, 368)
SUBJECT = 41 / 35


def test_from_box_by_hand():
    roi = Roi.from_box((10, 20, 110, 220))
    assert roi.center == (60, 120)
    assert roi.side == 250
    assert roi.magnification(BOX) == pytest.approx(1.472)
    assert Roi.from_box((10, 20, 110, 220), margin=1).side == 200


def test_from_height_by_hand():
    assert Roi.from_height((5, 6), 1).side == pytest.approx(1.5707, abs=5e-5)
    roi = Roi.from_height((5, 6), 200 * SUBJECT)
    assert roi.center == (5, 6)
    assert roi.magnification(BOX) == pytest.approx(1)


def test_from_mpii_by_hand():
    roi = Roi.from_mpii((594, 257), 1)
    assert roi.side == pytest.approx(314.1, abs=0.05)
    assert roi.magnification(BOX) == pytest.approx(SUBJECT)
    assert Roi.from_mpii((594, 257), 3.021046).magnification(BOX) == pytest.approx(SUBJECT / 3.021046)


def test_whole_image_and_lsp_test_by_hand():
    assert Roi.whole_image(100, 200) == Roi((99.5, 49.5), 250)
    roi = Roi.lsp_test(100, 200)
    assert roi == Roi((99.5, 49.5), 125)
    assert 100 * roi.magnification(BOX) == pytest.approx(294.4)


def parts_of(**points: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    parts = np.full((len(LSP), 2), np.nan)
    for name, point in points.items():
        parts[LSP.index(name)] = point
    return parts, np.isfinite(parts).all(axis=1)


def test_from_parts_by_hand():
    # Only the head votes: 41 px stay 41 px.
    roi = Roi.from_parts(*parts_of(neck=(10, 100), head_top=(10, 59)))
    assert roi.side == pytest.approx(368)
    assert roi.center == (10, 79.5)
    # No limb of the table: the extent becomes 304 px.
    roi = Roi.from_parts(*parts_of(left_wrist=(0, 0), right_knee=(304, 10)))
    assert roi.side == pytest.approx(368)
    assert roi.center == (152, 5)
    # The head gives 41 px, the wrist 608 px away gives half the magnification.
    roi = Roi.from_parts(*parts_of(neck=(0, 0), head_top=(0, 41), right_knee=(608, 0)))
    assert roi.side == pytest.approx(736)
    assert Roi.from_parts(*parts_of(neck=(0, 0), head_top=(0, 41)), center=(7, 8)).center == (7, 8)


def test_from_parts_takes_the_hazen_quantile_of_the_votes():
    # Votes of 20 (head), 30 (lower leg: 50.85 / 1.6950), 40 (upper arm: 47.7 / 1.1925) and 80.16 (neck to shoulder).
    # Sorted, they are at 1/8, 3/8, 5/8 and 7/8: 0.75 lies halfway between the last two.
    roi = Roi.from_parts(
        *parts_of(
            neck=(0, 0),
            head_top=(0, 20),
            right_elbow=(30, 0),
            right_shoulder=(30, 47.7),
            right_ankle=(60, 0),
            right_knee=(60, 50.85),
        )
    )
    shoulder = np.hypot(30, 47.7) / 0.7030
    assert roi.side == pytest.approx((40 + shoulder) / 2 * 368 / 41)


def test_from_parts_of_another_skeleton():
    parts = np.zeros((9, 2))
    parts[FLIC.index("nose")] = 0, 152
    labeled = np.zeros(9, bool)
    labeled[[FLIC.index("nose"), FLIC.index("left_shoulder")]] = True
    assert Roi.from_parts(parts, labeled, FLIC).side == pytest.approx(184)
    fly = Skeleton("fly", ("head", "tail"))
    assert Roi.from_parts(np.array([[0.0, 0], [30, 40]]), np.ones(2, bool), fly).side == pytest.approx(40 * 368 / 304)


def test_limb_table_has_the_released_quirks():
    assert len(LIMB_RATIOS) == 13
    pairs = [(a, b) for a, b, _ in LIMB_RATIOS]
    assert pairs.count(("left_hip", "left_knee")) == 2
    assert pairs.count(("left_shoulder", "left_elbow")) == 2


@pytest.mark.data
def test_released_scales(data_dir):
    extended = LeedsSports(data_dir / "lspet")
    scales = [SUBJECT / extended.roi(index, 300, 300).magnification(BOX) for index in range(3)]
    assert scales == pytest.approx([0.5884, 0.6684, 0.5775], abs=1e-4)
    sports = LeedsSports(data_dir / "lsp")
    assert SUBJECT / sports.roi(0, 196, 110).magnification(BOX) == pytest.approx(0.5895, abs=1e-4)
    assert sports.roi(0, 196, 110).center == (54.5, 97.5)


@pytest.mark.data
def test_released_scales_over_the_whole_data(data_dir):
    scales = []
    for name in ("lspet", "lsp"):
        dataset = LeedsSports(data_dir / name)
        scales += [SUBJECT / dataset.roi(index, 200, 200).magnification(BOX) for index in range(len(dataset))]
    assert len(scales) == 11000
    assert [min(scales), np.median(scales), np.mean(scales), max(scales)] == pytest.approx(
        [0.290, 0.689, 0.728, 2.149], abs=1e-3
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Roi((0, float("nan")), 1), "center must be two finite numbers"),
        (lambda: Roi((0, 0, 0), 1), "center must be two finite numbers"),
        (lambda: Roi((0, 0), 0), "side must be a positive number of pixels, got 0"),
        (lambda: Roi((0, 0), float("inf")), "side must be a positive number"),
        (lambda: Roi.from_box((0, 0, 1)), "box must be four finite numbers"),
        (lambda: Roi.from_box((0, 0, 1, float("nan"))), "box must be four finite numbers"),
        (lambda: Roi.from_box((5, 0, 5, 9)), "box must have left < right"),
        (lambda: Roi.from_box((0, 9, 5, 1)), "box must have left < right and top < bottom"),
        (lambda: Roi.from_height((0, 0), -3), "side must be a positive number"),
        (lambda: Roi.whole_image(0, 0), "side must be a positive number"),
        (lambda: Roi((0, 0), 1).zoomed(-1), "side must be a positive number"),
        (lambda: Roi.from_parts(np.zeros((3, 2)), np.ones(3, bool)), r"parts must be \[14, 2\].*got \[3, 2\]"),
        (lambda: Roi.from_parts(np.zeros((14, 2)), np.zeros(14, bool)), "parts must have at least two labeled"),
        (lambda: Roi.from_parts(np.full((14, 2), np.nan), np.ones(14, bool)), "parts must have at least two labeled"),
        (lambda: Roi.from_parts(np.zeros((14, 2)), np.ones(14, bool)), "parts must not all lie on one point"),
    ],
)
def test_rejects(make, message):
    with pytest.raises(ValueError, match=message):
        make()


rois = st.builds(Roi, st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)), st.floats(0.5, 2e4))
sizes = st.tuples(st.integers(1, 60), st.integers(1, 60)).map(lambda cells: (8 * cells[0], 8 * cells[1]))
points = st.lists(st.tuples(st.floats(-2e4, 2e4), st.floats(-2e4, 2e4)), min_size=1, max_size=5).map(np.array)


@given(rois, sizes, points)
def test_image_to_box_and_back(roi, size, points_image):
    back = roi.to_image(roi.to_box(points_image, size), size)
    assert np.abs(back - points_image).max() < 1e-3


@given(rois, sizes)
def test_center_goes_to_the_middle_and_side_fills_the_box(roi, size):
    middle = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    assert roi.to_box(np.array(roi.center), size) == pytest.approx(middle, abs=1e-6 * max(size))
    edge = roi.to_box(np.array(roi.center) + roi.side / 2, size)
    assert edge == pytest.approx(middle + max(size) / 2, abs=1e-6 * max(size) + 1e-3 / roi.side)


@given(rois, st.floats(0.1, 10))
def test_zoomed_multiplies_the_magnification(roi, factor):
    assert roi.zoomed(factor).magnification(BOX) == pytest.approx(factor * roi.magnification(BOX))
    assert roi.zoomed(factor).center == roi.center


def test_transform_takes_any_leading_shape():
    matrix = np.array([[2.0, 0, 1], [0, 3, -1]])
    assert transform(matrix, np.array([1, 1])).tolist() == [3, 2]
    assert transform(matrix, np.ones((4, 5, 2), np.float32)).shape == (4, 5, 2)


def test_frame_of_crop_by_hand():
    frame = Frame.of_crop(BOX)
    assert frame == Frame(0.125, 0.125, -0.4375, -0.4375)
    assert frame.sx * 3.5 + frame.ox == 0  # cell 0 is at pixel 3.5
    # Magnified 1.3 times, the nominal box's middle 183.5 is still the crop's middle: cell (183.5 - 3.5) / 8 = 22.5.
    zoomed = Frame.of_crop(BOX, pyramid=1.3)
    assert zoomed.sx == pytest.approx(0.1625)
    assert zoomed.sx * 183.5 + zoomed.ox == pytest.approx(22.5)
    # The crop's border pixel 0 is nominal pixel 183.5 - 183.5 / 1.3.
    assert zoomed.sx * (183.5 - 183.5 / 1.3) + zoomed.ox == pytest.approx(-0.4375)
    wide = Frame.of_crop((192, 256), stride=8, cell_offset=0)
    assert (wide.sx, wide.ox, wide.oy) == (0.125, 0, 0)
    wide = Frame.of_crop((192, 256), cell_offset=0, pyramid=0.5)
    assert (wide.ox, wide.oy) == (127.5 / 16, 95.5 / 16)


@given(rois, sizes, st.floats(0.3, 3), points)
def test_frame_agrees_with_the_zoomed_region(roi, size, factor, points_image):
    """The frame maps a pixel of the nominal box to the cell where the zoomed crop shows the same image point."""
    frame = Frame.of_crop(size, pyramid=factor)
    nominal = roi.to_box(points_image, size)
    cells = nominal * (frame.sx, frame.sy) + (frame.ox, frame.oy)
    expected = (roi.zoomed(factor).to_box(points_image, size) - 3.5) / 8
    assert cells == pytest.approx(expected, rel=1e-9, abs=1e-6 * max(1, np.abs(nominal).max()))
