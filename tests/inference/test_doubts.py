"""A warning names poses that are probably wrong, once per kind, with the remedy."""

import warnings

import cv2
import numpy as np
import pytest

from cpm_fast.cli import FINE, main
from cpm_fast.inference import infer
from cpm_fast.inference.doubts import LOW_SCORE, doubts
from cpm_fast.results.entry import Entry
from cpm_fast.skeleton import LSP
from support import clips


def entry(name: str, score: float, source: str = "whole image", count: int = 1) -> Entry:
    scores = np.full((count, 14), score, np.float32)
    return Entry(np.zeros((count, 14, 2), np.float32), scores, LSP, name, roi_source=source)


def test_low_scores_are_told_with_what_to_do():
    told = doubts([entry("a.jpg", 0.15), entry("b.jpg", 0.11), entry("c.jpg", 0.8)], searched=False)
    assert told == [
        "a.jpg and 1 others: probably wrong, the mean score of the parts is 0.13 (sure is about 1); the whole picture "
        "was taken as one subject: say where it is (boxes=, --box) or search (find='search', --find search)"
    ]
    known = Entry(np.zeros((1, 14, 2)), np.array([[np.nan] * 12 + [0.1, 0.5]]), LSP, "d.jpg")
    assert doubts([known], searched=False) == []
    assert "check that each box" in doubts([entry("a.jpg", 0.1, "boxes")], searched=False)[0]
    assert doubts([entry("a.jpg", LOW_SCORE), entry("b.jpg", np.nan), entry("c.jpg", 0, count=0)], False) == []
    assert doubts([entry("c.jpg", 0, count=0)], searched=True)[0].startswith("no subject found in c.jpg; a lower")


def test_noise_is_told_and_a_drawn_figure_is_not(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    with pytest.warns(UserWarning, match="image 0: probably wrong"):
        infer(noise, model="compact-drawn", find=False)
    figure, _ = next(iter(clips.walk(0.1, size=(160, 120))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        infer(figure, model="compact-drawn", find=False)
    cv2.imwrite("noise.png", noise)
    assert main(["infer", "noise.png", "--model", "compact-drawn", "--find", "whole", "-o", "out"]) == FINE
    assert "warning: noise.png: probably wrong, the mean score" in capsys.readouterr().err
