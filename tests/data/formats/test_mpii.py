"""MPII Human Pose: the release's structs and the toolkits' list, both 1-based."""

import json
import math

import cv2
import numpy as np
import pytest

from cpm_fast.data.formats.mpii import MpiiJson, MpiiRelease
from cpm_fast.skeleton import MPII
from support.matlab import structs

savemat = pytest.importorskip("scipy.io", reason="needs scipy").savemat


def point(part, x, y, **more):
    return {"x": float(x), "y": float(y), "id": part, **more}


def person(*points, **more):
    """Return a person of 400 px around the file's (101, 51), with a head box of 30 x 40 pixels, so 50 across."""
    annotated = {"point": structs(*points)} if points else None
    head = {"x1": 61, "y1": 11, "x2": 91, "y2": 51}
    fields = {**head, "annopoints": annotated, "scale": 2.0, "objpos": {"x": 101, "y": 51}}
    return {name: value for name, value in {**fields, **more}.items() if value is not None}


FIRST = person(point(0, 11, 21, is_visible=1), point(9, 71, 12), point(8, 75, 40), point(15, 30.5, 8, is_visible=0))
SECOND = person(point(6, 5, 6, is_visible="0"), point(7, 7, 8, is_visible="1"), point(1, 9, 9))


def write(folder, *images, variable="RELEASE"):
    """Write a release of pictures with lists of people."""
    annolist = structs(
        *(
            {"image": {"name": name}, "annorect": structs(*people) if people else np.empty((0, 0))}
            for name, people in images
        )
    )
    path = folder / "mpii_human_pose_v1_u12_1.mat"
    savemat(path, {variable: {"annolist": annolist, "img_train": np.ones((1, len(images)))}}, do_compression=True)
    (folder / "images").mkdir(exist_ok=True)
    for name, _ in images:
        cv2.imwrite(str(folder / "images" / name), np.full((90, 160, 3), 40, np.uint8))
    return path


def test_people_with_points_are_samples(tmp_path):
    path = write(tmp_path, ("a.png", [FIRST, person()]), ("test.png", []), ("b.png", [SECOND]), ("c.png", [person()]))
    dataset = MpiiRelease(path)
    assert (dataset.name, len(dataset), dataset.skeleton) == ("mpii", 2, MPII)
    first, second = dataset[0], dataset[1]
    assert (first.name, first.identity, second.name, second.identity) == ("a.png", (1, 1), "b.png", (3, 1))
    assert first.image.shape == (90, 160, 3)
    # 1-based in the file.
    assert first.parts_image[MPII.index("right_ankle")].tolist() == [10, 20]
    assert first.parts_image[MPII.index("head_top")].tolist() == [70, 11]
    assert first.parts_image[MPII.index("left_wrist")].tolist() == [29.5, 7]
    assert [MPII.names[i] for i in np.flatnonzero(first.labeled)] == ["right_ankle", "neck", "head_top", "left_wrist"]
    assert np.isnan(first.parts_image[~first.labeled]).all()
    assert first.occluded.nonzero()[0].tolist() == [MPII.index("left_wrist")]  # a point without a flag is visible
    assert second.occluded.nonzero()[0].tolist() == [MPII.index("pelvis")]  # a flag may be text
    assert first.head_length == pytest.approx(0.6 * 50)


def test_region_of_the_release(tmp_path):
    """A person of 2 x 200 px becomes 234.3 px of the 368 px box, so 628.3 px fill it."""
    roi = MpiiRelease(write(tmp_path, ("a.png", [FIRST])))[0].roi
    assert roi.center == (100, 50)
    assert roi.side == pytest.approx(2 * 200 * 368 / (200 * 41 / 35))


def test_people_of_one_picture_are_neighbors(tmp_path):
    dataset = MpiiRelease(write(tmp_path, ("a.png", [FIRST, SECOND, person()]), ("b.png", [FIRST])))
    assert [len(dataset[i].others_image) for i in range(3)] == [1, 1, 0]
    np.testing.assert_array_equal(dataset[0].others_image[0], dataset[1].parts_image)
    assert dataset[1].identity == (1, 2)


def test_without_scale_the_points_give_the_region(tmp_path):
    scaleless = {**FIRST, "scale": np.empty((0, 0))}
    roi = MpiiRelease(write(tmp_path, ("a.png", [scaleless, FIRST])))[0].roi
    assert roi.center == ((10 + 74) / 2, (7 + 39) / 2)


def test_without_a_head_box_there_is_no_head_length(tmp_path):
    headless = {name: value for name, value in FIRST.items() if name not in ("x1", "y1", "x2", "y2")}
    assert MpiiRelease(write(tmp_path, ("a.png", [headless])))[0].head_length is None


@pytest.mark.parametrize(
    ("people", "message"),
    [
        ([person(point(16, 1, 1))], "image 1, person 1: id of a point must be from 0 to 15, got 16"),
        ([{**FIRST, "scale": "big"}], "image 1, person 1: scale must be one number, got str 'big'"),
        ([{**FIRST, "scale": -1.0}], "image 1, person 1: side must be a positive number"),
        ([person(point(3, math.inf, 1))], "image 1, person 1: x must be one number"),
        ([{**person(point(0, 1, 1)), "scale": np.empty((0, 0))}], "image 1, person 1: parts must have at least two"),
        ([person()], "must hold people with annopoints, got none"),
    ],
    ids=["part", "scale", "negative scale", "infinite", "one point and no scale", "no points"],
)
def test_a_mistake_is_named_with_its_place(tmp_path, people, message):
    with pytest.raises(ValueError, match=f"u12_1.mat.*{message}"):
        MpiiRelease(write(tmp_path, ("a.png", people)))


def test_people_and_entries_that_cannot_be_used_are_left_out(tmp_path):
    with pytest.warns(UserWarning, match="1 of 2 people left out: image 1, person 2: scale must be one number"):
        assert len(MpiiRelease(write(tmp_path, ("a.png", [FIRST, {**FIRST, "scale": "big"}])))) == 1
    with pytest.warns(UserWarning, match="2 of 3 entries left out: entry 1: must have the keys"):
        assert len(MpiiJson(write_list(tmp_path, [ENTRY, 5, {**ENTRY, "scale": 10**400}]))) == 1


def test_not_a_release(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone.mat: no such file"):
        MpiiRelease(tmp_path / "gone.mat")
    with pytest.raises(ValueError, match="must hold the variable RELEASE"):
        MpiiRelease(write(tmp_path, ("a.png", [FIRST]), variable="OTHER"))


JOINTS = [[10.0 + part, 20.0 + 2 * part] for part in range(16)]
ENTRY = {"image": "a.png", "center": [51.0, 41.0], "scale": 0.5, "joints": JOINTS, "joints_vis": [1] * 15 + [0]}


def write_list(folder, entries, name="mpii.json"):
    (folder / name).write_text(json.dumps(entries) if not isinstance(entries, str) else entries)
    cv2.imwrite(str(folder / "a.png"), np.full((60, 80, 3), 40, np.uint8))
    return folder / name


def test_list(tmp_path):
    dataset = MpiiJson(write_list(tmp_path, [ENTRY, {**ENTRY, "image": "gone.png"}, ENTRY]))
    assert (dataset.name, len(dataset), dataset.skeleton) == ("mpii", 3, MPII)
    sample = dataset[0]
    assert sample.parts_image[2].tolist() == [11, 23]
    assert sample.labeled.tolist() == [True] * 15 + [False]
    assert np.isnan(sample.parts_image[15]).all()
    assert sample.roi.center == (50, 40) and sample.roi.side == pytest.approx(0.5 * 314.1463, abs=1e-3)
    assert len(sample.others_image) == 1 and sample.head_length is None
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        dataset[1]


@pytest.mark.parametrize("folder", ["images", "annotations/../images"], ids=["beside", "one up"])
def test_pictures_may_lie_in_images(tmp_path, folder):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "b.png"), np.zeros((9, 9, 3), np.uint8))
    where = tmp_path if folder == "images" else tmp_path / "annotations"
    assert MpiiJson(write_list(where, [{**ENTRY, "image": "b.png"}]))[0].image.shape == (9, 9, 3)


LIST_MISTAKES = {
    "torn": ("[", "not JSON that can be read"),
    "deep": ("[" * 100_000, "not JSON that can be read"),
    "empty": ([], "must be a list of people"),
    "no list": ({"a": 1}, "must be a list of people, got dict"),
    "no entry": ([5], "entry 0: must have the keys"),
    "no image": ([{**ENTRY, "image": ""}], "entry 0: image must name a picture"),
    "few joints": ([{**ENTRY, "joints": JOINTS[:15]}], "entry 0: joints must be 16 points"),
    "three numbers": ([{**ENTRY, "joints": [[1, 2, 3], *JOINTS[1:]]}], "entry 0: a joint must be 2 finite numbers"),
    "few flags": ([{**ENTRY, "joints_vis": [1]}], "entry 0: joints_vis must be 16 finite numbers"),
    "infinite": ([{**ENTRY, "scale": math.inf}], "entry 0: scale must be a finite number"),
    "no scale": ([{**ENTRY, "scale": 0}], "entry 0: side must be a positive"),
    "no number": ([{**ENTRY, "center": [True, 3]}], "entry 0: center must be 2 finite numbers"),
}


@pytest.mark.parametrize(("entries", "message"), LIST_MISTAKES.values(), ids=LIST_MISTAKES)
def test_a_mistake_in_the_list_is_named(tmp_path, entries, message):
    with pytest.raises(ValueError, match=rf"mpii\.json.*{message}"):
        MpiiJson(write_list(tmp_path, entries))


@pytest.mark.data
def test_real_list(data_dir):
    dataset = MpiiJson(data_dir / "mpii" / "test_mpii.json")
    assert len(dataset) == 5
    samples = [dataset[i] for i in range(5)]
    assert [sample.name for sample in samples][:2] == ["005808361.jpg", "052475643.jpg"]
    assert [int(sample.labeled.sum()) for sample in samples] == [16, 16, 14, 14, 16]
    # Computed by hand from the file: joint 10 is [869, 214], center [966, 340], scale 4.718488.
    first = samples[0]
    assert first.parts_image[MPII.index("right_wrist")].tolist() == [868, 213]
    assert first.roi.center == (965, 339) and first.roi.side == pytest.approx(4.718488 * 314.1463, abs=0.01)
    for sample in samples:
        height, width = sample.image.shape[:2]
        known = sample.parts_image[sample.labeled]
        assert ((known >= 0) & (known < (width, height))).all()
        x, y = sample.roi.to_box(known, (368, 368)).T
        assert ((x > 0) & (x < 368) & (y > 0) & (y < 368)).all()
