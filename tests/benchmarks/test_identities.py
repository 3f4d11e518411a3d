"""The study of identities: its counts, and a whole run on a short video."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness.record import commit
from benchmarks.studies import identities as study
from cpm_fast.results.result import Result
from cpm_fast.skeleton import LSP
from cpm_fast.weights import DRAWN, FOLDER


def figures(*places: float) -> np.ndarray:
    shape = np.random.default_rng(0).uniform((-20, -50), (20, 50), (14, 2))
    return np.array([shape + np.array([place, 100]) for place in places])


def result(ids: tuple[int, ...], *places: float) -> Result:
    points = figures(*places).astype(np.float32).reshape(len(ids), 14, 2)
    return Result(points, np.ones(points.shape[:2], np.float32), LSP, ids=ids)


def counted(frames: list[tuple[tuple[int, ...], tuple[float, ...]]]) -> study.Kept:
    """Count with two figures at 100 and 300, which cross in the marked frame."""
    truth = [figures(100, 300) if len(places) != 1 else figures(200, 205) for _, places in frames]
    return study.identities(iter([result(ids, *places) for ids, places in frames]), truth)


def test_kept_and_exchanged() -> None:
    apart, close = ((0, 1), (100, 300)), ((1,), (200,))
    assert counted([apart, close, apart]) == study.Kept(0, 0, 1, 0, 6, 2)
    # While they are close, the visible one may be either.
    swapped = counted([apart, close, ((1, 0), (100, 300)), ((1, 0), (100, 300))])
    assert (swapped.exchanged, swapped.renewed) == (2, 0)
    renewed = counted([apart, ((0, 2), (100, 300))])
    assert (renewed.exchanged, renewed.renewed, renewed.ids) == (0, 1, 3)
    assert counted([((0, 1, 2), (100, 300, 600))]) == study.Kept(0, 0, 0, 1, 2, 3)
    with pytest.raises(ValueError, match="zip"):
        study.identities(iter([]), [figures(1)])


def test_videos_that_are_done_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"video": 0, "exchanged": 1, "renewed": 2, "unseen": 3, "nobody": 0, "figures": 12}

    def stopped(*_: object) -> Iterator[dict[str, int]]:
        yield row
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "measure", stopped)
    with pytest.raises(KeyboardInterrupt):
        study.main(["--out", str(tmp_path)])
    record = json.loads((tmp_path / "identities.json").read_text())
    assert (record["videos"], record["wanted"], record["exchanged"], record["unseen"]) == (1, 20, 1, 0.25)
    assert record["rows"] == [row]


@pytest.mark.skipif(not (FOLDER / f"{DRAWN}.safetensors").is_file(), reason="the bundled weights are missing")
def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study.main(["--videos", "1", "--seconds", "0.24", "--model", DRAWN, "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "identities.json").read_text())
    assert record["videos"] == record["wanted"] == 1 and record["commit"] == commit()
    assert record["rows"][0]["figures"] == 12 and record["exchanged"] == 0
    assert "0 identities exchanged, 0 renewed in 1 videos" in capsys.readouterr().out
