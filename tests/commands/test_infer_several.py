"""cpm-fast infer on a video of several subjects: their numbers, and a run that is stopped and resumed."""

import csv

import numpy as np
import pytest

from cpm_fast.cli import BAD_RESULT, BAD_USE, FINE, main
from cpm_fast.commands.inference import video as infer_video
from cpm_fast.inference.parts import Found
from cpm_fast.inference.tracking import following, subject_log
from cpm_fast.media import video
from cpm_fast.results.result import Results
from support.infer_runs import LABELED, WALK, same, stop_after

PLACES = np.array([[90.0, 90.0], [220.0, 95.0]])


@pytest.fixture
def seen(work, monkeypatch):
    """Mock a finder and a network with two still subjects; the second appears in the second search, at frame 5."""
    shape = np.random.default_rng(0).uniform((-25, -50), (25, 50), (14, 2))
    looks = []

    def boxes(image):
        looks.append(image)
        return [[x - 30, y - 55, x + 30, y + 55] for x, y in PLACES]

    def look(engine, settings, image, sightings):
        found = []
        for roi in [one.roi for one in sightings]:
            place = PLACES[np.linalg.norm(PLACES - roi.center, axis=1).argmin()]
            # The parts have small errors, different in each frame, like those of a network.
            parts = shape + place + 0.1 * np.sin(image[90, :14, :1].astype(float))
            parts_box = roi.to_box(parts, engine.config.input_size)
            found.append(Found(parts_box[None], np.full((1, 14), 0.8, np.float32), None, 0, 0, 0))
        return found

    monkeypatch.setattr(following, "look", look)
    monkeypatch.setattr(infer_video, "asked_find", lambda options: boxes)
    monkeypatch.setattr(subject_log, "EVERY", 4)
    return looks


def test_every_row_has_its_subject_s_number(work, seen, capsys):
    assert main([*WALK, "-o", "out"]) == FINE
    rows = list(csv.DictReader((work / "out" / "walk.csv").open()))
    assert [(int(row["frame"]), row["subject"], row["id"]) for row in rows[:4]] == [
        (0, "0", "0"),
        (0, "1", "1"),
        (1, "0", "0"),
        (1, "1", "1"),
    ]
    results = Results.load(work / "out" / "walk.csv")
    assert len(results) == 20 and {result.ids for result in results} == {(0, 1)} and len(seen) == 4
    assert len(list(video.Video(work / "out" / LABELED).frames())) == 20


@pytest.mark.parametrize("smooth", [(), ("--smooth",)], ids=["plain", "smooth"])
def test_a_run_that_was_stopped_gives_the_same_numbers(work, seen, monkeypatch, capsys, smooth):
    assert main([*WALK, *smooth, "-o", "whole"]) == FINE
    with monkeypatch.context() as patch:
        stop_after(patch, following.Following, "_follow", 11)
        assert main([*WALK, *smooth, "-o", "out"]) == BAD_RESULT
    log = work / "out" / ".unfinished" / "subjects.jsonl"
    assert len(log.read_text().splitlines()) == 2
    # A kill in the middle of a line.
    log.write_text(log.read_text() + '{"frame": 11, "nex')
    capsys.readouterr()
    assert main([*WALK, *smooth, "-o", "out", "--resume"]) == FINE
    assert "resuming: 8 frames are done" in capsys.readouterr().out
    same(Results.load("whole/walk.csv"), Results.load("out/walk.csv"))
    assert (work / "whole" / "walk.csv").read_text() == (work / "out" / "walk.csv").read_text()
    assert len(list(video.Video(work / "out" / LABELED).frames())) == 20


def test_frames_without_anybody_are_drawn_too(work, seen, monkeypatch, capsys):
    """The table has no rows for them; the video of a resumed run has the same length."""

    def nobody(image):
        return []

    monkeypatch.setattr(infer_video, "asked_find", lambda options: nobody)
    with monkeypatch.context() as patch:
        stop_after(patch, following.Following, "_follow", 11)
        assert main([*WALK, "-o", "out"]) == BAD_RESULT
    assert main([*WALK, "-o", "out", "--resume"]) == FINE
    assert "walk.mp4: no subject found in any frame" in capsys.readouterr().err
    assert len(list(video.Video(work / "out" / LABELED).frames())) == 20


def test_a_damaged_state_is_told(work, seen, monkeypatch, capsys):
    stop_after(monkeypatch, following.Following, "_follow", 11)
    assert main([*WALK, "-o", "out"]) == BAD_RESULT
    for damage in ('{"frame": 3}', '{"frame": 1e999, "next_id": 0, "subjects": []}'):
        (work / "out" / ".unfinished" / "subjects.jsonl").write_text(damage + "\n")
        assert main([*WALK, "-o", "out", "--resume"]) == BAD_USE
        assert "subjects.jsonl: not the state of a video that can be resumed" in capsys.readouterr().err
