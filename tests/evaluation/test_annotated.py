"""Average precision of a COCO file against pycocotools on the same file: crowds, unlabeled people, empty pictures."""

import contextlib
import io
import json

import cv2
import numpy as np
import pytest

from cpm_fast.cli import BAD_USE, FINE, main
from cpm_fast.data.open import open_dataset
from cpm_fast.data.sample import hold_out
from cpm_fast.evaluation import read_truth
from cpm_fast.evaluation.annotated import with_unsampled
from cpm_fast.evaluation.oks import ScoredSubjects
from cpm_fast.skeleton import COCO


@pytest.fixture(autouse=True)
def pycocotools():
    pytest.importorskip("pycocotools", reason='OKS needs pip install -e ".[eval]"')


class People:
    """A COCO file of four pictures, the last without people, and results that are right, near and wrong."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.annotations, self.results = [], []
        for image in (1, 2, 3):
            for _ in range(3):
                self.person(image)
        self.person(1, iscrowd=1)
        self.person(2, labeled=False)
        self.person(3, iscrowd=1, labeled=False)
        # One part without a box gives no region: this is no sample, but a person.
        self.person(3, only=1, bbox=[0, 0, 0, 0])
        for image in (1, 2, 3, 4, 4):
            self.found(image, self.random.uniform(0, 300, (17, 2)))

    def person(self, image, labeled=True, only=17, **changes):
        corner = self.random.uniform(0, 200, 2)
        points = corner + self.random.uniform(0, 100, (17, 2))
        flags = self.random.integers(0, 3, 17) * labeled
        flags[0] = 2 * labeled
        flags[only:] = 0
        table = np.concatenate([points, flags[:, None]], axis=1) * (flags > 0)[:, None]
        self.annotations.append(
            {
                "id": len(self.annotations) + 1,
                "image_id": image,
                "category_id": 1,
                "iscrowd": 0,
                "area": float(self.random.uniform(40**2, 110**2)),
                "bbox": [*corner.tolist(), 100.0, 100.0],
                "keypoints": table.ravel().tolist(),
                "num_keypoints": int((flags > 0).sum()),
                **changes,
            }
        )
        self.found(image, points + self.random.normal(0, 6, (17, 2)))

    def found(self, image, points):
        triples = np.concatenate([points, np.ones((17, 1))], axis=1).ravel().tolist()
        score = float(self.random.uniform())
        self.results.append({"image_id": image, "category_id": 1, "keypoints": triples, "score": score})

    def write(self, folder):
        images = [{"id": i, "file_name": f"{i:012}.png", "height": 300, "width": 300} for i in (1, 2, 3, 4)]
        for image in images:
            cv2.imwrite(str(folder / image["file_name"]), np.zeros((300, 300, 3), np.uint8))
        category = {"id": 1, "name": "person", "keypoints": list(COCO.names), "skeleton": []}
        content = {"images": images, "annotations": self.annotations, "categories": [category]}
        (folder / "people.json").write_text(json.dumps(content))
        (folder / "found.json").write_text(json.dumps(self.results))


def by_pycocotools(folder) -> list[float]:
    from pycocotools.coco import COCO as Coco
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = Coco(str(folder / "people.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(folder / "found.json")), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore:.*left out")
def test_numbers_are_those_of_pycocotools(tmp_path, monkeypatch, seed):
    People(seed).write(tmp_path)
    monkeypatch.chdir(tmp_path)
    evaluated = ["eval", "--data", "people.json", "--predictions", "found.json", "--metric", "oks"]
    lines = io.StringIO()
    with contextlib.redirect_stdout(lines):
        assert main(evaluated) == FINE
    row = next(line for line in lines.getvalue().splitlines() if line.startswith("stage 1"))
    wanted = by_pycocotools(tmp_path)
    assert row.split()[2:] == [f"{100 * value:.1f}" if value >= 0 else "-" for value in wanted]


@pytest.mark.filterwarnings("ignore:.*left out")
def test_of_a_part_of_a_file_other_people_are_ignored(tmp_path):
    people = People(0)
    people.write(tmp_path)
    _, last = hold_out(open_dataset(tmp_path / "people.json"), 2)
    reader = read_truth(last)
    samples = ScoredSubjects(reader.images, reader.truth(), np.array(reader.areas))
    truth, images = with_unsampled(samples, last, reader.indices, reader.names, COCO)
    assert images == {"3": f"{3:012}.png"} and set(truth.images) == {"3"}
    # Two samples count, and the person without a region; the crowd and the third sample do not.
    assert truth.ignored.tolist() == [False, False, True, False, True]


def test_sides_of_the_observer_are_for_pck(tmp_path, monkeypatch, capsys):
    People(0).write(tmp_path)
    monkeypatch.chdir(tmp_path)
    evaluated = ["eval", "--data", "people.json", "--predictions", "found.json", "--metric", "oks"]
    assert main([*evaluated, "--centric", "observer"]) == BAD_USE
    assert "average precision takes left and right as they are annotated" in capsys.readouterr().err
