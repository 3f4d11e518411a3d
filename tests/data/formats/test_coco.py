"""Key points in COCO's JSON: people and other animals, annotations left out, and an error for each mistake."""

import json
import math
from contextlib import nullcontext

import cv2
import numpy as np
import pytest
from PIL import Image

from cpm_fast.data.formats.coco import CocoKeypoints
from cpm_fast.roi import Roi
from cpm_fast.skeleton import COCO

CAT = {"id": 3, "name": "cat", "keypoints": ["nose", "left_ear", "right_ear"], "skeleton": [[1, 2], [1, 3]]}
IMAGES = [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}]
# The nose is visible, the left ear hidden, the right ear not labeled.
FIRST = {
    "id": 70,
    "image_id": 7,
    "category_id": 3,
    "keypoints": [10, 12, 2, 20, 30, 1, 0, 0, 0],
    "num_keypoints": 2,
    "bbox": [5, 10, 40, 20],
    "area": 512.5,
    "iscrowd": 0,
}


def other(**changes):
    return {**FIRST, **changes}


def write(folder, annotations, images=IMAGES, categories=(CAT,), name="cats.json"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": list(categories)}))
    return path


def draw(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.full((48, 64, 3), 90, np.uint8))


def test_annotations_become_samples(tmp_path):
    draw(tmp_path, "a.png", "b.png")
    dataset = CocoKeypoints(write(tmp_path, [FIRST, other(id=71, image_id=9)]))
    assert (dataset.name, len(dataset), dataset.skeleton.names) == ("cats", 2, ("nose", "left_ear", "right_ear"))
    assert dataset.skeleton.limbs == (("nose", "left_ear"), ("nose", "right_ear"))
    assert dataset.skeleton.pairs == (("left_ear", "right_ear"),)
    sample = dataset[0]
    assert (sample.name, sample.identity, sample.area) == ("a.png", (7, 70), 512.5)
    assert sample.parts_image[:2].tolist() == [[10, 12], [20, 30]] and np.isnan(sample.parts_image[2]).all()
    assert sample.labeled.tolist() == [True, True, False]
    assert sample.occluded.tolist() == [False, True, False]
    assert sample.box_image == (5, 10, 45, 30) and sample.roi is None
    assert sample.region(1.25) == Roi((25, 20), 50) and sample.region(1.4) == Roi((25, 20), 56)
    assert (dataset[1].name, dataset[1].identity) == ("b.png", (9, 71))


def test_spaces_at_the_ends_of_names_are_no_part_of_them(tmp_path):
    cat = {**CAT, "keypoints": [" nose", "left_ear ", "right_ear"]}
    skeleton = CocoKeypoints(write(tmp_path, [FIRST], categories=(cat,))).skeleton
    assert skeleton.names == ("nose", "left_ear", "right_ear")
    assert skeleton.limbs == (("nose", "left_ear"), ("nose", "right_ear"))


def test_crowds_and_what_has_no_labels_are_left_out(tmp_path):
    draw(tmp_path, "a.png")
    zeros = [0] * 9
    bare = {key: value for key, value in FIRST.items() if key != "keypoints"}
    unlabeled = [other(num_keypoints=0, keypoints=zeros), other(id=72, num_keypoints=0), other(id=73, keypoints=zeros)]
    annotations = [other(iscrowd=1), *unlabeled, bare, other(id=74)]
    dataset = CocoKeypoints(write(tmp_path, annotations))
    assert [subject.identity for subject in dataset.subjects] == [(7, 74)]
    assert dataset[0].others_image.shape == (0, 3, 2)


def test_subjects_of_one_picture_are_neighbors(tmp_path):
    draw(tmp_path, "a.png")
    moved = other(id=71, keypoints=[1, 2, 2, 3, 4, 2, 5, 6, 2])
    dataset = CocoKeypoints(write(tmp_path, [FIRST, moved, other(image_id=9), other(iscrowd=1)]))
    assert dataset[0].others_image.tolist() == [[[1, 2], [3, 4], [5, 6]]]
    assert len(dataset[1].others_image) == 1


@pytest.mark.parametrize("box", [None, [5, 10, 0, 20], [5, 10, 40, -1]], ids=["none", "flat", "negative"])
def test_without_a_box_the_points_give_the_region(tmp_path, box):
    draw(tmp_path, "a.png")
    sample = CocoKeypoints(write(tmp_path, [other(bbox=box)]))[0]
    assert sample.box_image == (10, 12, 20, 30) and sample.region(1.25) == Roi((15, 21), 22.5)


def test_people_have_cocos_own_skeleton(tmp_path):
    people = {"id": 1, "keypoints": list(COCO.names), "skeleton": [[16, 14]]}
    points = [value for part in range(17) for value in (part, part, 2)]
    dataset = CocoKeypoints(write(tmp_path, [other(keypoints=points)], categories=[people]))
    assert dataset.skeleton is COCO


def test_a_skeleton_file_gives_order_limbs_and_pairs(tmp_path):
    draw(tmp_path, "a.png")
    (tmp_path / "skeleton.toml").write_text('names = ["left_ear", "nose"]\nlimbs = [["nose", "left_ear"]]\n')
    dataset = CocoKeypoints(write(tmp_path, [FIRST]))
    assert dataset.skeleton.names == ("left_ear", "nose") and dataset.skeleton.one_sided == ("left_ear",)
    assert dataset[0].parts_image.tolist() == [[20, 30], [10, 12]]
    assert dataset[0].occluded.tolist() == [True, False]
    (tmp_path / "skeleton.toml").write_text('names = ["tail", "nose"]\n')
    with pytest.raises(ValueError, match=r"cats.json: must have the key points \['tail'\], got"):
        CocoKeypoints(write(tmp_path, [FIRST]))


@pytest.mark.parametrize("folder", [".", "images", "../val2017", "../images/val2017", "val2017"])
def test_pictures_are_found_where_they_usually_lie(tmp_path, folder):
    path = write(tmp_path, [FIRST], name="annotations/keypoints_val2017.json")
    draw(path.parent / folder, "a.png")
    assert CocoKeypoints(path)[0].image.shape == (48, 64, 3)


def test_a_picture_that_is_not_there_fails_alone(tmp_path):
    draw(tmp_path, "a.png")
    dataset = CocoKeypoints(write(tmp_path, [FIRST, other(image_id=9)]))
    assert dataset[0].labeled.any()
    with pytest.raises(FileNotFoundError, match=r"b\.png"):
        dataset[1]


MISTAKES = {
    "few numbers": ({"annotations": [other(keypoints=[1, 2, 2])]}, "annotation 70: keypoints must be 9 finite numbers"),
    "not finite": (
        {"annotations": [other(keypoints=[math.nan] * 9)]},
        "annotation 70: keypoints must be 9 finite numbers",
    ),
    "text": ({"annotations": [other(keypoints="none")]}, "annotation 70: keypoints must be 9 finite numbers"),
    "no such image": (
        {"annotations": [other(image_id=8)]},
        "annotation 70: image_id must be the id of one of the 2 images, got 8",
    ),
    "no such text": (
        {"annotations": [other(image_id="x")]},
        "annotation 70: image_id must be the id of one of .* got x",
    ),
    "no id": (
        {"annotations": [other(image_id=True)]},
        "annotation 70: image_id must be a whole number or a text, got True",
    ),
    "half a box": ({"annotations": [other(bbox=[1, 2, 3])]}, "annotation 70: bbox must be 4 finite numbers"),
    "area in words": ({"annotations": [other(area="big")]}, "annotation 70: area must be a finite number"),
    "list for an id": ({"annotations": [other(id=[70])]}, r"annotation \[70\]: id must be a whole number or a text"),
    "no annotation": ({"annotations": [5]}, "annotation number 0: must be a table of fields, got 5"),
    "no list": ({"annotations": {"a": FIRST}}, "must hold lists images, annotations and categories"),
    "none left": ({"annotations": [other(iscrowd=1)]}, "must hold annotations with labeled key points, got 1 others"),
    "no name": ({"images": [{"id": 7}]}, "image number 0: file_name of image 7 must name a picture"),
    "no names": ({"categories": [{"id": 3}]}, "must have a category with the names of its keypoints"),
    "numbers for names": ({"categories": [{"keypoints": [1.5, None]}]}, "keypoints of a category must be names"),
    "two kinds": ({"categories": [CAT, {**CAT, "keypoints": ["nose"]}]}, "all categories must have the same keypoints"),
    "strange flag": (
        {"annotations": [other(keypoints=[1, 2, 7, *[0] * 6])]},
        "annotation 70: the visibility of nose must be 0, 1",
    ),
    "half a flag": (
        {"annotations": [FIRST, other(id=71, keypoints=[1, 2, 0.5, *[0] * 6])]},
        "71: the visibility of nose",
    ),
    "image id twice": (
        {"images": [*IMAGES, {"id": 7, "file_name": "c.png"}]},
        "an id of their own, got 7 for a.png and c.png",
    ),
    "a name twice": ({"categories": [{**CAT, "keypoints": ["a", "a", "b"]}]}, "names must be unique"),
}


@pytest.mark.parametrize(("changes", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=rf"cats\.json.*{message}"):
        CocoKeypoints(write(tmp_path, **{"annotations": [FIRST], **changes}))


def test_not_such_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        CocoKeypoints(tmp_path / "gone.json")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"list\.json: must hold lists images, annotations and categories, got \[1\]"):
        CocoKeypoints(tmp_path / "list.json")


@pytest.mark.data
def test_real_file(data_dir):
    dataset = CocoKeypoints(data_dir / "coco" / "test_coco.json")
    assert dataset.skeleton is COCO
    assert len(dataset) == 12  # 14 annotations, two of which have no key points
    samples = [dataset[i] for i in range(12)]
    assert sum(int(sample.labeled.sum()) for sample in samples) == sum((17, 14, 15, 15, 15, 12, 17, 16, 16, 15, 16, 13))
    # Computed by hand from the file.
    first = samples[0]
    assert (first.identity, first.area, first.name) == ((785, 442619), 27789.11055, "000000000785.jpg")
    assert first.parts_image[COCO.index("nose")].tolist() == [367, 81]
    assert first.parts_image[COCO.index("right_ankle")].tolist() == [396, 341]
    assert first.box_image == pytest.approx((280.79, 44.73, 499.49, 391.41))
    region = first.region(1.25)
    assert first.roi is None, "the network's own margin makes the region"
    assert region.center == pytest.approx((390.14, 218.07)) and region.side == pytest.approx(1.25 * 346.68)
    assert [len(sample.others_image) for sample in samples] == [0, 1, 1, 3, 3, 3, 3, 4, 4, 4, 4, 4]
    hidden = samples[1].occluded
    assert [COCO.names[i] for i in np.flatnonzero(hidden)] == ["left_hip", "right_hip", "right_ankle"]
    for sample in samples:
        left, top, right, bottom = sample.box_image
        x, y = sample.parts_image[sample.labeled & ~sample.occluded].T
        assert ((x > left - 3) & (x < right + 3) & (y > top - 3) & (y < bottom + 3)).all()


@pytest.mark.parametrize("last", [[-1, -1, -1], [0, 0, -1], [5, 6, 0]])
def test_a_flag_of_at_most_0_is_not_labeled(tmp_path, last):
    draw(tmp_path, "a.png")
    sample = CocoKeypoints(write(tmp_path, [other(keypoints=[10, 12, 2, 20, 30, 1, *last])]))[0]
    assert sample.labeled.tolist() == [True, True, False] and np.isnan(sample.parts_image[2]).all()


def test_annotations_that_cannot_be_used_are_left_out_and_named(tmp_path):
    bad = [
        other(id=71, bbox=[0, 0, 0, 0], keypoints=[20, 20, 2, *[0] * 6]),
        other(id=72, image_id=8),
        other(id=73, area="x"),
    ]
    with pytest.warns(
        UserWarning, match=r"cats\.json: 3 of 4 annotations left out: annotation 71: must have two labeled"
    ):
        dataset = CocoKeypoints(write(tmp_path, [*bad, FIRST]))
    assert len(dataset) == 1 and len(dataset.left_out) == 3


def test_images_and_annotations_that_are_none_are_left_out_and_named(tmp_path):
    images = [*IMAGES, {"id": 11}, {"file_name": "c.png"}, None]
    annotations = [FIRST, None, other(id=71, image_id=11)]
    with pytest.warns(UserWarning) as told:
        dataset = CocoKeypoints(write(tmp_path, annotations, images))
    assert len(dataset) == 1 and len(dataset.left_out) == 2 and set(dataset.images) == {7, 9}
    texts = [str(one.message) for one in told]
    assert "cats.json: 3 of 5 images left out: image number 2: file_name of image 11 must name" in texts[0]
    assert "2 of 3 annotations left out: annotation number 1: must be a table of fields, got None" in texts[1]


@pytest.mark.parametrize(
    ("given", "limbs", "message"),
    [
        ([[0, 1], [0, 2]], [("nose", "left_ear"), ("nose", "right_ear")], "count from 0"),
        ([[1, 4], [1, 1], [1], "x", [1, 2]], [("nose", "left_ear")], "4 limbs of the skeleton left out"),
        (7, [], "the skeleton is left out: must be a list of limbs, got 7"),
        (None, [], None),
        ([], [], None),
    ],
    ids=["from 0", "out of range", "no list", "none", "empty"],
)
def test_limbs_are_only_for_drawing(tmp_path, given, limbs, message):
    path = write(tmp_path, [FIRST], categories=[{**CAT, "skeleton": given}])
    with pytest.warns(UserWarning, match=message) if message else nullcontext():
        assert list(CocoKeypoints(path).skeleton.limbs) == limbs


def test_an_image_that_is_there_twice_with_one_name(tmp_path):
    assert len(CocoKeypoints(write(tmp_path, [FIRST], images=[*IMAGES, IMAGES[0]]))) == 1


def test_pictures_of_another_size_are_refused_each(tmp_path):
    draw(tmp_path, "a.png", "b.png")  # 64 x 48
    images = [{**IMAGES[0], "width": 64, "height": 48}, {**IMAGES[1], "width": 640, "height": 480}]
    dataset = CocoKeypoints(write(tmp_path, [FIRST, other(id=71, image_id=9)], images))
    assert dataset[0].image.shape == (48, 64, 3)
    with pytest.raises(ValueError, match=r"b.png: has 64 x 48 pixels, and its annotations are for 640 x 480"):
        dataset[1]
    # Height and width are ignored if they are exchanged, absent or invalid.
    for wrong in ({"width": 48, "height": 64}, {}, {"width": 0, "height": 0}, {"width": "64", "height": None}):
        dataset = CocoKeypoints(write(tmp_path, [FIRST], [{**IMAGES[0], **wrong}]))
        assert dataset[0].parts_image[0].tolist() == [10, 12]


def test_a_picture_that_its_exif_orientation_turns_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 48)).save(tmp_path / "a.jpg", exif=exif)
    for width, height in ((64, 48), (48, 64)):
        image = {"id": 7, "file_name": "a.jpg", "width": width, "height": height}
        dataset = CocoKeypoints(write(tmp_path, [FIRST], [image]))
        if height == 64:
            assert dataset[0].image.shape == (64, 48, 3), "labeled as it stands upright"
        else:
            with pytest.raises(ValueError, match="as 64 x 48 pixels, and its EXIF orientation makes it 48 x 64"):
                dataset[0]


@pytest.mark.parametrize("place", [None, math.nan, "", 1e300], ids=str)
def test_the_place_of_what_is_not_labeled_may_be_anything(tmp_path, place):
    draw(tmp_path, "a.png")
    dataset = CocoKeypoints(write(tmp_path, [other(keypoints=[10, 12, 2, 20, 30, 1, place, place, 0])]))
    assert dataset[0].labeled.tolist() == [True, True, False]


def test_ids_may_be_whole_numbers_with_a_point(tmp_path):
    draw(tmp_path, "a.png")
    dataset = CocoKeypoints(write(tmp_path, [other(id=70.0, image_id=7.0)], [{"id": 7.0, "file_name": "a.png"}]))
    assert dataset[0].identity == (7, 70)
    with pytest.raises(ValueError, match=r"id must be a whole number or a text, got 7\.5"):
        CocoKeypoints(write(tmp_path, [FIRST], [{"id": 7.5, "file_name": "a.png"}]))


def test_a_count_of_0_against_labels_is_told(tmp_path):
    draw(tmp_path, "a.png")
    with pytest.warns(UserWarning, match="1 of 2 annotations left out: annotation 71: num_keypoints is 0, and 2 are"):
        dataset = CocoKeypoints(write(tmp_path, [FIRST, other(id=71, num_keypoints=0)]))
    assert len(dataset) == 1 and len(dataset.unsampled) == 1


def test_numbers_are_names_too(tmp_path):
    draw(tmp_path, "a.png")
    numbered = {"id": 3, "name": "cat", "keypoints": [1, 2, 3], "skeleton": [[1, 2]]}
    dataset = CocoKeypoints(write(tmp_path, [FIRST], categories=[numbered, {**numbered, "id": 4}]))
    assert dataset.skeleton.names == ("1", "2", "3") and dataset.skeleton.limbs == (("1", "2"),)


def test_ids_may_be_texts_or_lack(tmp_path):
    """Annotations need no ids; digits count as the number, even if images and annotations differ in type."""
    draw(tmp_path, "a.png", "b.png")
    images = [{"id": "7", "file_name": "a.png", "height": 48, "width": 64}, {"id": "b-9", "file_name": "b.png"}]
    found = [other(id="x1", image_id=7), {**other(image_id="b-9"), "id": None}]
    dataset = CocoKeypoints(write(tmp_path, found, images))
    assert [(sample.name, sample.identity) for sample in dataset] == [("a.png", (7, "x1")), ("b.png", ("b-9", 0))]
    assert dataset.images == {7: "a.png", "b-9": "b.png"}


def test_an_annotation_id_that_is_there_twice_is_told(tmp_path):
    draw(tmp_path, "a.png", "b.png")
    found = [FIRST, other(id=71), other(image_id=9), other(id=71, image_id=9)]
    match = "of their own, 2 have another's, the first 70: number 0 of image 7 and number 2 of image 9"
    with pytest.warns(UserWarning, match=match):
        dataset = CocoKeypoints(write(tmp_path, found))
    assert len(dataset) == 4


def test_missing_points_may_be_null_and_limbs_names(tmp_path, recwarn):
    draw(tmp_path, "a.png")
    found = other(keypoints=[10, 12, 2, None, None, None, 5, 6, 1])
    dataset = CocoKeypoints(write(tmp_path, [found], categories=[{**CAT, "skeleton": [["nose", "left_ear"]]}]))
    assert dataset[0].labeled.tolist() == [True, False, True] and not recwarn
    assert dataset.skeleton.limbs == (("nose", "left_ear"),)
