"""The study of finding: its matching, its counts, and a whole run on drawn people."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.studies import finding
from benchmarks.studies.finding import Person, matched, regions_found
from cpm_fast.data.drawn.figures import draw_figure
from cpm_fast.roi import Roi


def test_matched_takes_the_best_first_and_each_once() -> None:
    values = np.array([[0.9, 0.8], [0.85, 0.1], [0.0, 0.0]])
    assert matched(values) == [(0, 0), (1, 1)]
    assert matched(np.zeros((0, 3))) == [] and matched(np.zeros((2, 0))) == []


def test_similarity_is_of_labeled_joints_of_the_body() -> None:
    parts, labeled = np.zeros((17, 2)), np.ones(17, bool)
    labeled[16] = False
    person = Person(np.array([0, 0, 10, 10]), parts, labeled, 100.0)
    moved = parts.copy()
    moved[:5] += 1000
    moved[16] += 1000
    assert person.similarity(moved) == 1 and person.body.sum() == 11
    assert person.similarity(parts + 1000) == 0


def test_regions_found_counts_tall_people_and_false_regions() -> None:
    tall = Person(np.array([0, 0, 50, 100]), np.zeros((17, 2)), np.ones(17, bool), 1.0)
    small = Person(np.array([200, 0, 20, 40]), np.zeros((17, 2)), np.ones(17, bool), 1.0)
    rois = [Roi.from_box(tall.xyxy, 1.4), Roi((500, 500), 50), Roi.from_box(small.xyxy, 1.4)]
    assert regions_found([tall, small], rois, 1.4) == (1, 1, 1)
    assert regions_found([tall, small], [], 1.4) == (1, 0, 0) and regions_found([], rois, 1.4) == (0, 0, 3)


def test_runs_on_drawn_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(2)
    (tmp_path / "images").mkdir()
    annotations = []
    for number in range(2):
        image = np.full((200, 240, 3), 120, np.uint8)
        figure = draw_figure(rng)
        parts = figure.parts_image(16.0, np.array([110.0, 100.0]))
        figure.paint(image, 16.0, np.array([110.0, 100.0]))
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), image)
        low, high = parts.min(0), parts.max(0)
        points = np.zeros((17, 3))
        points[5:, :2], points[5:, 2] = parts[:12], 2
        annotations.append(
            {
                "image_id": number,
                "iscrowd": 0,
                "keypoints": points.ravel().tolist(),
                "area": 5000.0,
                "bbox": [*low.tolist(), *(high - low).tolist()],
            }
        )
    cv2.imwrite(str(tmp_path / "images" / "2.png"), np.full((200, 240, 3), 120, np.uint8))
    images = [{"id": number, "file_name": f"{number}.png"} for number in range(3)]
    (tmp_path / "people.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    arguments = ["--data", str(tmp_path / "people.json"), "--model", "compact-drawn", "--out", str(tmp_path / "out")]
    assert finding.main(arguments) == 0
    ways = json.loads((tmp_path / "out" / "finding.json").read_text())["ways"]
    assert set(ways) == {"whole picture", "finder", "search", "true boxes"} and ways["search"]["people"] == 2
    assert 0 <= ways["search"]["recall"] <= 1 and "wrote" in capsys.readouterr().out


def test_weights_with_a_finder_are_measured_with_it(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "0.png"), np.full((100, 120, 3), 120, np.uint8))
    parts = np.random.default_rng(0).uniform(0, 90, (17, 2))
    person = Person(np.array([0, 0, 90, 90]), parts, np.ones(17, bool), 900.0)
    with pytest.warns(UserWarning):
        ways = finding.measure({"0.png": [person]}, tmp_path / "images", "compact-lsp")
    assert set(ways) == {"whole picture", "finder", "search", "true boxes"} and ways["finder"]["tall_people"] == 1
