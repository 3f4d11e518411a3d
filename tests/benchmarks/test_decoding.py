"""The compared decoders, each against maps with a known peak, and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from benchmarks.studies import decoding
from cpm_fast.skeleton import Skeleton
from cpm_fast.weights import DRAWN

PAIR = Skeleton("pair", ("left", "right"), pairs=(("left", "right"),))
PEAKS = torch.tensor([[[5.3, 7.4], [10.0, 3.75]], [[8.9, 2.2], [4.0, 4.0]]])


def gaussians(peaks: torch.Tensor, height: float = 0.8, sigma: float = 1.1, side: int = 16) -> torch.Tensor:
    """Return maps [M, P, side, side] of peaks [M, P, 2] (x, y) in cells."""
    at = torch.arange(float(side))
    squares = (at - peaks[..., 0, None, None]) ** 2 + (at[:, None] - peaks[..., 1, None, None]) ** 2
    return height * torch.exp(-squares / (2 * sigma**2))


@pytest.mark.parametrize(
    ("decoder", "bound"),
    [
        ("the highest cell", 0.5),
        ("a quarter step", 0.25),
        ("parabola on cells", 0.1),
        ("centroid of nine cells", 0.25),
        ("expansion of the logarithm", 1e-3),
        ("the same, maps blurred", 1e-2),
        ("parabola, sides apart", 0.1),
    ],
)
def test_finds_the_peak_of_a_gaussian(decoder: str, bound: float) -> None:
    """Whole cells are exact to half a cell; the logarithm of a Gaussian equals its expansion."""
    off = (decoding.DECODERS[decoder](gaussians(PEAKS), PAIR) - PEAKS).abs().max().item()
    assert off <= bound + 1e-6
    assert off > bound / 5 or bound < 0.1, "a bound that says nothing"


@pytest.mark.parametrize("decoder", decoding.DECODERS)
def test_stays_on_the_map_at_its_border_and_without_belief(decoder: str) -> None:
    corner = gaussians(torch.tensor([[[0.0, 15.0], [15.0, 0.0]]]))
    for maps in (corner, torch.zeros_like(corner), -corner):
        cells = decoding.DECODERS[decoder](maps, PAIR)
        assert cells.isfinite().all() and (cells >= -1).all() and (cells <= 16).all()


def test_of_two_sides_in_one_place_the_one_with_the_better_alternative_moves() -> None:
    here, there = torch.tensor([4.0, 9.0]), torch.tensor([11.0, 3.0])
    maps = gaussians(here.expand(1, 2, 2).clone())
    alone = decoding.sides_apart(maps, PAIR)
    assert (alone == here).all(), "no second peak, so both stay"
    maps[:, 1] += gaussians(there.expand(1, 1, 2), height=0.5)[:, 0]
    moved = decoding.sides_apart(maps, PAIR)
    assert (moved[0, 0] - here).norm() < 0.1 and (moved[0, 1] - there).norm() < 0.1


@pytest.mark.slow
def test_the_command_writes_what_evaluate_finds(tmp_path, capsys) -> None:
    from cpm_fast.data.open import open_dataset
    from cpm_fast.evaluation import evaluate
    from cpm_fast.weights import load

    given = ["--data", "synthetic:12", "--last", "10", "--model", DRAWN, "--out", str(tmp_path)]
    assert decoding.main(given) == 0
    rows = json.loads((tmp_path / "decoding.json").read_text())["results"]["synthetic"]
    assert set(rows) == {*decoding.DECODERS, decoding.RELEASED, decoding.OURS}
    dataset = open_dataset("synthetic:12")
    wanted = evaluate(load(DRAWN), decoding.Subset(dataset, range(2, 12)), device="cpu", progress=False)
    assert rows[decoding.OURS]["PCK@0.2"] == pytest.approx(100 * wanted.stages[-1].mean)
    assert "| the highest cell |" in (tmp_path / "decoding.md").read_text()
    assert decoding.main([*given, "--flip"]) == 0
    flipped = json.loads((tmp_path / "decoding.json").read_text())["results"]["synthetic"]
    wanted = evaluate(load(DRAWN), decoding.Subset(dataset, range(2, 12)), flip=True, device="cpu", progress=False)
    assert np.isclose(flipped[decoding.OURS]["PCK@0.2"], 100 * wanted.stages[-1].mean)


@pytest.mark.parametrize("last", ["0", "-1"])
def test_bad_use(last: str, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        decoding.main(["--data", "synthetic:4", "--last", last])
    assert "must be given once for each --data, and be positive" in capsys.readouterr().err
