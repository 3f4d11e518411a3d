"""cpm-fast infer --boxes: boxes of detectors and annotations, matched with pictures by their names."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from cpm_fast.cli import BAD_USE, FINE, main
from cpm_fast.data.formats.boxes import BoxFile
from cpm_fast.results.result import Results

pytestmark = pytest.mark.usefixtures("work")

FIRST, SECOND = (5, 5, 25, 35), (20, 4, 45, 30)


@pytest.fixture
def folder(work):
    """Write pictures named by numbers, like COCO's."""
    (work / "in" / "05-bad.png").unlink()
    for i in range(11):
        (work / "in" / f"{i:02}.png").rename(work / "in" / f"{i:012}.png")
    return work / "in"


def infer(*arguments: str) -> int:
    return main(["infer", "in", "--model", "net.safetensors", "--no-pictures", "-o", "out", *arguments])


def width_first(box: tuple[int, ...]) -> list[int]:
    left, top, right, bottom = box
    return [left, top, right - left, bottom - top]


def detections() -> list[dict]:
    """Write two subjects in picture 3, one in 7, and one in a missing picture."""
    found = [(3, FIRST, 0.9), (3, SECOND, 0.95), (7, FIRST, 0.4), (99, FIRST, 0.8)]
    return [{"image_id": i, "category_id": 1, "bbox": width_first(box), "score": score} for i, box, score in found]


def annotations() -> dict:
    """Write the same as annotations, with a crowd and a box without width."""
    images = [{"id": 100 + i, "file_name": f"{i:012}.png"} for i in (3, 7, 8, 99)]
    entries = [{**each, "image_id": each["image_id"] + 100, "iscrowd": 0} for each in detections()]
    entries += [
        {"image_id": 108, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        {"image_id": 108, "category_id": 1, "bbox": [0, 0, 0, 9], "iscrowd": 0},
    ]
    return {"images": images, "annotations": entries, "categories": [{"id": 1, "name": "person"}]}


def table(mark: str = ",") -> str:
    rows = ["image,subject,left,top,right,bottom,score"]
    for i, entry in enumerate(detections()):
        left, top, width, height = entry["bbox"]
        image = f"../in/{entry['image_id']:012}.png"
        rows.append(f"{image},{i},{left},{top},{left + width},{top + height},{entry['score']}")
    rows.append("../in/000000000008.png,0,,,,,")
    return "\n".join(rows).replace(",", mark) + "\n"


def write(path: Path, content) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


FORMS = {
    "detections": ("given/boxes.json", detections),
    "annotations": ("given/boxes.json", annotations),
    "table": ("given/boxes.csv", table),
    "table of another country": ("given/boxes.csv", lambda: table(";")),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_regions(work, folder, capsys, form):
    path, content = FORMS[form]
    assert infer("--boxes", write(work / path, content())) == FINE
    results = {int(Path(result.name).stem): result for result in Results.load("out/results.json")}
    assert [len(results[i]) for i in range(11)] == [0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0]
    # The one with the highest score comes first.
    assert np.allclose(results[3].boxes, [square(SECOND), square(FIRST)])
    assert np.allclose(results[7].boxes, [square(FIRST)]) and results[7].roi_source == "boxes"
    told = capsys.readouterr().err
    assert "no box for 9 of 11 pictures: in/000000000000.png, in/000000000001.png, in/000000000002.png, ..." in told
    assert "boxes of 1 other pictures are not used: " in told and "99" in told
    assert ("1 boxes without width or height are left out" in told) == (form == "annotations")


def square(box: tuple[int, ...]) -> tuple[float, ...]:
    """Return the square around a box's middle, as wide as its longer side."""
    left, top, right, bottom = box
    x, y, half = (left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) / 2
    return x - half, y - half, x + half, y + half


def test_limits(work, folder):
    boxes = write(work / "boxes.json", detections())
    assert infer("--boxes", boxes, "--min-find-score", "0.5", "--max-subjects", "1") == FINE
    results = Results.load("out/results.json")
    assert sum(len(result) for result in results) == 1 and np.allclose(results[3].boxes, [square(SECOND)])


def test_the_table_that_infer_writes_gives_its_boxes_again(work, folder):
    assert infer("--boxes", write(work / "boxes.json", detections()), "--form", "csv") == FINE
    options = "--model net.safetensors --no-pictures -o again --form csv --boxes out/results.csv"
    assert main(["infer", "in", *shlex.split(options)]) == FINE
    assert (work / "again" / "results.csv").read_text() == (work / "out" / "results.csv").read_text()


def test_one_picture(work, folder):
    boxes = write(work / "boxes.json", detections())
    assert main(["infer", "in/000000000003.png", "--model", "net.safetensors", "-o", "out", "--boxes", boxes]) == FINE
    assert len(Results.load("out/results.json")[0]) == 2


def test_pictures_of_a_coco_file_have_its_ids(work, folder):
    """Ids of detections are those of the annotation file that names the pictures."""
    named = annotations()
    named["categories"] = [{"id": 1, "name": "person", "keypoints": ["nose"]}]
    named["images"] = named["images"][:3]
    found = [{**entry, "image_id": entry["image_id"] + 100} for entry in detections()[:3]]
    coco, boxes = write(folder / "named.json", named), write(work / "boxes.json", found)
    assert main(["infer", coco, "--model", "net.safetensors", "--no-pictures", "-o", "out", "--boxes", boxes]) == FINE
    assert [len(result) for result in Results.load("out/results.json")] == [2, 1, 0]


@pytest.mark.parametrize(("named", "ids"), [((3, 7, 8), {(103, 7)}), ((3,), {(103, 7)}), ((7,), {(3, 1)})], ids=str)
def test_annotations_that_name_every_picture_give_their_ids(work, folder, named, ids):
    """With the third file boxes come from a detection by name, and its ids are not those of this picture."""
    content = annotations() | {"categories": [{"id": 7, "name": "cat", "keypoints": ["a"]}]}
    content["images"] = [image for image in content["images"] if image["id"] - 100 in named]
    content["annotations"] = [{"image_id": 100 + named[0], "category_id": 7, "bbox": width_first(FIRST)}]
    if 3 not in named:
        content = [{"image_id": 3, "category_id": 7, "bbox": width_first(FIRST)}]
    (work / "b.json").write_text(json.dumps(content))
    arguments = ["--boxes", "b.json", "--form", "coco", "--no-pictures", "-o", "out"]
    assert main(["infer", f"in/{3:012}.png", "--model", "net.safetensors", *arguments]) == FINE
    found = json.loads((work / "out" / "results_coco.json").read_text())
    assert {(entry["image_id"], entry["category_id"]) for entry in found} == ids


def test_a_run_with_other_boxes_does_not_resume(work, folder, monkeypatch, capsys):
    from cpm_fast.inference import unfinished
    from support.infer_runs import stop_after

    boxes = write(work / "boxes.json", detections())
    with monkeypatch.context() as patch:
        stop_after(patch, unfinished.Journal, "add", 4)
        infer("--boxes", boxes)
    write(work / "boxes.json", detections()[1:])
    assert infer("--boxes", boxes, "--resume") == BAD_USE
    assert "other settings: boxes" in capsys.readouterr().err
    write(work / "boxes.json", detections())
    assert infer("--boxes", boxes, "--resume") == FINE
    assert [len(result) for result in Results.load("out/results.json")] == [0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0]


def changed(index: int, **changes) -> list[dict]:
    found = detections()
    found[index] |= changes
    return found


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("b.json", "[{", "b.json: not JSON that can be read"),
        ("b.json", {"a": 1}, "b.json: boxes must be COCO's detections or annotations"),
        ("b.json", [], "must hold at least one box, got none"),
        ("b.json", [3], "entry 0 must have image_id and bbox, got 3"),
        ("b.json", [{"image_id": 1, "keypoints": []}], "entry 0 must have a bbox (left, top, width, height), got the"),
        ("b.json", changed(2, bbox=[1, 2, 3]), "bbox of entry 2 must be 4 finite numbers, got [1, 2, 3]"),
        ("b.json", changed(1, bbox=[1, 2, -3, 4]), "entry 1: the box of 3 must have left < right and top < bottom"),
        ("b.json", changed(1, image_id=True), "image_id of entry 1 must be a whole number or a text, got True"),
        ("b.json", changed(1, score="high"), "score of entry 1 must be a finite number"),
        ("b.json", changed(1, category_id=44), "boxes must be of one category, got 2: 1, 44; say which with --box-cat"),
        ("b.json", changed(0, bbox=[900, 900, 9, 9]), "box 1 of in/000000000003.png must touch the image"),
        ("b.json", changed(0, bbox=[0.1, 0.1, 0.5, 0.5]), "must be in pixels, got fractions of the picture"),
        ("b.json", detections()[3:], "b.json: must name the pictures, got 99, and pictures in/000000000000.png, "),
        ("b.json", {**annotations(), "images": [{"id": 1}]}, "b.json: must be a COCO file with images"),
        ("b.json", {**annotations(), "images": annotations()["images"][:1]}, "image_id of entry 2 must be the id of"),
        ("b.txt", "x", "b.txt: boxes must be COCO's detections or annotations (.json), or a table with the columns"),
        ("b.csv", "", "b.csv: must have the columns image, left, top, right, bottom, got []"),
        ("b.csv", "image,a_x,a_y\n1.png,2,3\n", "must have the columns image, left, top, right, bottom, got ['image'"),
        ("b.csv", "image,left,top,right,bottom\n1.png,2,3\n", "b.csv: line 2 must have 5 cells"),
        ("b.csv", "image,left,top,right,bottom\n1.png,2,3,x,4\n", "b.csv: line 2: must be a number, got 'x'"),
        ("b.csv", "image,left,top,right,bottom\n1.png,2,3,,4\n", "line 2: the box of 1.png must have left < right"),
        ("b.csv", "image,left,top,right,bottom\n1.png,,,,\n", "b.csv: must hold at least one box, got none"),
    ],
)
def test_bad_files_are_told(work, folder, capsys, name, content, message):
    assert infer("--boxes", write(work / name, content)) == BAD_USE
    assert message in capsys.readouterr().err


def test_names_that_fit_several_are_told(work, folder, capsys):
    (work / "in" / "sub").mkdir()
    (work / "in" / "sub" / "000000000003.png").write_bytes((folder / "000000000003.png").read_bytes())
    assert infer("-r", "--boxes", write(work / "b.json", detections())) == BAD_USE
    assert "3 may be in/000000000003.png or in/sub/000000000003.png: give more of the path" in capsys.readouterr().err
    rows = "image,left,top,right,bottom\na/000000000003.png,1,1,9,9\nb/000000000003.png,1,1,9,9\n"
    picture = ["infer", "in/../in/000000000003.png", "--model", "net.safetensors", "-o", "out"]
    assert main([*picture, "--boxes", write(work / "b.csv", rows)]) == BAD_USE
    assert "must name the pictures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in", "--boxes", "none.csv"], "none.csv: no such file"),
        (["walk.mp4", "--boxes", "b.json"], "--boxes is for pictures"),
        (["in", "--boxes", "b.json", "--find", "search"], "find='search' looks for subjects, but boxes or rois say"),
        (["in/000000000003.png", "--boxes", "b.json", "--box", "1", "1", "9", "9"], "--box and --boxes can't both"),
        (["in", "--box-category", "1"], "--box-category is for --boxes"),
        (["in", "--boxes", "b.json", "--box-category", "2"], "must have boxes of category 2, got those of [1]"),
        (["in", "--boxes", "b.json", "--max-subjects", "0"], "max_subjects must be a positive whole number"),
        (["in", "--boxes", "plain.csv", "--min-find-score", "0.5"], "plain.csv: must have a score for each box"),
    ],
)
def test_bad_use_is_told(work, folder, capsys, arguments, message):
    write(work / "b.json", detections())
    write(work / "plain.csv", "image,left,top,right,bottom\n000000000003.png,1,1,9,9\n")
    assert main(["infer", *arguments, "--model", "net.safetensors"]) == BAD_USE
    assert message in capsys.readouterr().err


def test_one_category_of_several(work):
    path = Path(write(work / "b.json", changed(1, category_id=44)))
    assert [row.category for row in BoxFile.read(path, category=1).rows] == [1, 1, 1]
