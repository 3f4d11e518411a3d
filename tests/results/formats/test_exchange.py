"""Results for other programs: COCO's own reader reads one form, the other has OpenPose's documented keys."""

import json

import numpy as np
import pytest

from cpm_fast.results.result import Result, Results
from cpm_fast.skeleton import COCO, LSP

PLACES = ("pose", "face", "hand_left", "hand_right")
DOCUMENTED = {"person_id", *(f"{place}_keypoints_{axes}" for place in PLACES for axes in ("2d", "3d"))}


def result(name: str, count: int = 1, skeleton=LSP, seed: int = 0) -> Result:
    random = np.random.default_rng(seed)
    keypoints = random.uniform(10, 90, (count, len(skeleton), 2)).astype(np.float32)
    scores = random.uniform(0.2, 1, (count, len(skeleton))).astype(np.float32)
    keypoints[:, 4] = np.nan
    return Result(keypoints, scores, skeleton, name, size=(100, 100))


def test_coco_entries(tmp_path):
    results = Results([result("a/000000000785.jpg", 2), result("000000040083.jpg", 0), result("7.png")])
    results.save(tmp_path / "coco.json", form="coco")
    entries = json.loads((tmp_path / "coco.json").read_text())
    assert [(entry["image_id"], entry["file_name"]) for entry in entries] == [
        (785, "000000000785.jpg"),
        (785, "000000000785.jpg"),
        (7, "7.png"),
    ]
    for entry, (which, i) in zip(entries, [(0, 0), (0, 1), (2, 0)], strict=True):
        triples = np.array(entry["keypoints"]).reshape(14, 3)
        known = np.arange(14) != 4
        np.testing.assert_allclose(triples[known, :2], results[which].keypoints[i][known], atol=1e-4)
        np.testing.assert_allclose(triples[known, 2], results[which].scores[i][known], atol=1e-4)
        assert (triples[4] == 0).all() and entry["category_id"] == 1
        assert entry["score"] == pytest.approx(results[which].scores[i].mean(), abs=1e-6)


@pytest.mark.parametrize(
    "names",
    [("a.jpg", "b.jpg"), ("1/7.jpg", "2/7.jpg"), ("1.jpg", "b.jpg")],
    ids=["words", "the same number twice", "a word among numbers"],
)
def test_images_without_numbers_are_counted(tmp_path, names):
    Results([result(name) for name in names]).save(tmp_path / "coco.json", form="coco")
    assert [entry["image_id"] for entry in json.loads((tmp_path / "coco.json").read_text())] == [1, 2]


def test_pycocotools_reads_and_scores_them(tmp_path):
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is missing: pip install 'cpm_fast[eval]'")
    cocoeval = pytest.importorskip("pycocotools.cocoeval", reason="pycocotools is missing")
    truth = [result(f"{i}.jpg", skeleton=COCO, seed=i) for i in range(1, 5)]
    for each in truth:
        each.keypoints[:, 4] = 50
    annotations = [
        {
            "id": i,
            "image_id": i,
            "category_id": 1,
            "iscrowd": 0,
            "area": 2000.0,
            "bbox": [10, 10, 80, 80],
            "num_keypoints": 17,
            "keypoints": [v for x, y in each.keypoints[0].tolist() for v in (x, y, 2)],
        }
        for i, each in enumerate(truth, 1)
    ]
    category = {"id": 1, "name": "person", "keypoints": list(COCO.names), "skeleton": []}
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 100, "width": 100} for i in range(1, 5)]
    (tmp_path / "truth.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [category]})
    )
    # One of the four is far off.
    truth[3].keypoints[:] = 0
    Results(truth).save(tmp_path / "coco.json", form="coco")
    reader = coco.COCO(str(tmp_path / "truth.json"))
    found = reader.loadRes(str(tmp_path / "coco.json"))
    assert sorted(found.getImgIds()) == [1, 2, 3, 4] and len(found.getAnnIds()) == 4
    score = cocoeval.COCOeval(reader, found, "keypoints")
    score.evaluate()
    score.accumulate()
    score.summarize()
    # Recall of 3 of 4 at every threshold.
    assert score.stats[5] == pytest.approx(0.75)


def test_openpose_has_the_documented_keys(tmp_path):
    one = result("walk/a.jpg", 2)
    one.save(tmp_path / "a.json", form="openpose")
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["version"] == 1.3 and len(content["people"]) == 2
    for i, person in enumerate(content["people"]):
        assert set(person) == DOCUMENTED
        triples = np.array(person["pose_keypoints_2d"]).reshape(14, 3)
        assert (triples[4] == 0).all()
        np.testing.assert_allclose(triples[5, :2], one.keypoints[i, 5], atol=1e-4)


def test_openpose_has_one_file_an_image(tmp_path):
    Results([result("a.jpg"), result("more/a.png"), result("b.jpg", 0)]).save(tmp_path / "out", form="openpose")
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == ["a-2_keypoints.json", "a_keypoints.json", "b_keypoints.json"]
    assert json.loads((tmp_path / "out" / "b_keypoints.json").read_text())["people"] == []
    with pytest.raises(ValueError, match=r"one file per image; for 2 images give a folder"):
        Results([result("a.jpg"), result("b.jpg")]).save(tmp_path / "x.json", form="openpose")


def test_other_forms_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"form must be one of \['coco', 'openpose'\].*got 'yolo'"):
        result("a.jpg").save(tmp_path / "a.json", form="yolo")
    assert list(tmp_path.iterdir()) == []


def test_ids_of_a_coco_file_are_written_as_they_stand_there(tmp_path):
    images = [{"id": "007", "file_name": "a.jpg"}, {"id": "b-9", "file_name": "b.jpg"}, {"id": 5, "file_name": "c.jpg"}]
    content = {"images": images, "categories": [{"id": "cat", "keypoints": ["nose"]}]}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    found = Results([result(f"in/{name}.jpg") for name in "abc"])
    found.save(tmp_path / "coco.json", form="coco", coco_file=tmp_path / "truth.json")
    entries = json.loads((tmp_path / "coco.json").read_text())
    assert [(entry["image_id"], entry["category_id"]) for entry in entries] == [
        ("007", "cat"),
        ("b-9", "cat"),
        (5, "cat"),
    ]
