"""The comparison of Ray workers: which pictures its rate counts, and a run if Ray is there."""

from __future__ import annotations

import json

import pytest

from benchmarks.checks import ray_workers


def batch(worker: int, begin: float, end: float, pictures: int) -> list[dict]:
    row = {"worker": worker, "begin": begin, "end": end, "mb": 100.0 * worker, "poses": "{}"}
    return [dict(row) for _ in range(pictures)]


def test_the_rate_counts_the_time_in_which_all_work():
    # From 2 s, when the later worker has ended its first batch, to 5 s, when the earlier one stops: 30 pictures of
    # worker 1, and of worker 2 one batch of 10 and half of another.
    rows = batch(1, 0, 1, 10) + batch(1, 1, 2, 10) + batch(1, 2, 5, 30)
    rows += batch(2, 0, 2, 10) + batch(2, 2, 4, 10) + batch(2, 4, 6, 10)
    assert ray_workers.rate(rows) == pytest.approx((30 + 10 + 5) / 3)
    found = ray_workers.measured(rows, ray_workers.Arrangement(2, 1))
    assert found["worker_mb"] == [100.0, 200.0] and found["pictures"] == 80 and found["without_poses"] == 0


def test_a_run_too_short_is_refused():
    with pytest.raises(ValueError, match="give more --pictures"):
        ray_workers.rate(batch(1, 0, 1, 5) + batch(2, 2, 3, 5))


@pytest.mark.parametrize("wrong", [["--pictures", "0"], ["--rounds", "0"], ["--workers", "2"], ["--workers", "0x1"]])
def test_bad_use(wrong):
    with pytest.raises(SystemExit) as stop:
        ray_workers.main(wrong)
    assert stop.value.code == 2


@pytest.mark.nightly
def test_the_command(tmp_path):
    pytest.importorskip("ray.data", reason='it needs pip install -e ".[ray]"')
    out = tmp_path / "found.json"
    assert ray_workers.main(["--pictures", "400", "--workers", "1x1", "--rounds", "1", "--out", str(out)]) == 0
    (found,) = json.loads(out.read_text())["runs"]
    assert found["pictures"] == 400 and found["pictures_per_s"] > 0 and found["worker_mb"][0] > 100
