"""The command that checks the paper's claims: every group trains, resumes and is judged; verdicts on invented runs."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from zlib import crc32

import cv2
import numpy as np
import pytest

from benchmarks.studies import claims, claims_report
from cpm_fast.model.layers import parameter_count, receptive_field
from support.beside import Command, Outcome, script

SMOKE = ["--steps", "2", "--batch", "2", "--samples", "8", "--held-out", "3", "--workers", "0"]


def command(folder: Path, more: tuple[str, ...] = ()) -> Command:
    return script("benchmarks/studies/claims.py", *SMOKE, *more, "--out", folder, OMP_NUM_THREADS="1")


@pytest.mark.slow
@pytest.mark.beside(command=command)
def test_the_command_runs_every_group_and_resumes(beside: Outcome, capsys):
    assert beside.code == 0, beside.output + beside.errors
    tmp_path = beside.folder
    found = json.loads((tmp_path / "claims.json").read_text())
    assert {group: len(runs) for group, runs in found["runs"].items()} == {"schemes": 4, "stages": 1, "field": 6}
    assert len(found["verdicts"]) == 8 and cv2.imread(str(tmp_path / "claims.png")) is not None
    table = (tmp_path / "claims.md").read_text()
    assert table.count("Figure") == 8 and "| schemes | final_only | 2 |" in table
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("final.safetensors")}
    assert len(before) == 11
    (tmp_path / "claims.md").unlink()
    capsys.readouterr()
    assert claims.main([*SMOKE, "--out", str(tmp_path)]) == 0
    assert (tmp_path / "claims.md").read_text() == table
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("final.safetensors")}
    with pytest.raises(SystemExit):
        claims.main([*SMOKE, "--seed", "1", "--out", str(tmp_path)])
    assert "name another --out" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.beside(command=partial(command, more=("--data", "synthetic:9", "--only", "schemes")))
def test_schemes_learn_from_given_pictures(beside: Outcome):
    assert beside.code == 0, beside.output + beside.errors
    found = json.loads((beside.folder / "claims.json").read_text())
    assert found["asked"]["data"] == "synthetic:9" and set(found["runs"]) == {"schemes"}


def test_networks_of_the_field_series_are_of_one_size():
    networks = [claims.field_network(*kernels) for kernels in claims.FIELD_KERNELS]
    assert [receptive_field(network, 2) for network in networks] == [22, 38, 102, 150, 214, 310]
    for network in networks:
        assert parameter_count(network) == pytest.approx(claims.FIELD_PARAMETERS, rel=0.03)


def run(name: str, *stages: float, field: int = 0, gradient: tuple[int, int] = (40, 40)) -> dict:
    """Return a run of 400 samples whose stages find this share of parts, with two layers' gradients in these bins."""
    random = np.random.default_rng(0)
    noise = 0.1 * random.standard_normal(400)
    layers = {}
    for layer, place in zip(("trunk1_block1_conv1", f"stage{len(stages)}_beliefs"), gradient, strict=True):
        layers[layer] = np.eye(72, dtype=int)[place].tolist()
    # The seed is a sum of the name and the stage, which is the same in every process, unlike Python's hash.
    own = [np.random.default_rng(crc32(f"{name} {t}".encode())).normal(0, 0.02, 400) for t in range(len(stages))]
    hits = [(stage + noise + apart - apart.mean()).tolist() for stage, apart in zip(stages, own, strict=True)]
    return {"name": name, "hits": hits, "fields": [field], "gradients": [{"step": 1, "layers": layers}] * 5}


def words(found) -> list[str]:
    return [verdict.verdict for verdict in found]


def test_schemes_are_judged_by_the_last_stage_and_two_standard_errors():
    runs = [
        run("joint", 0.2, 0.8),
        run("stagewise", 0.9, 0.7),
        run("stagewise_then_joint", 0.2, 0.8),
        run("final_only", 0.1, 0.9, gradient=(30, 40)),
    ]
    assert words(claims_report.scheme_verdicts(runs)) == ["holds", "not decided", "does not hold", "holds"]
    runs[3] = run("final_only", 0.1, 0.7, gradient=(40, 40))
    assert words(claims_report.scheme_verdicts(runs))[2:] == ["holds", "not decided"]


@pytest.mark.parametrize(
    ("stages", "wanted"),
    [
        ((0.5, 0.6, 0.65, 0.7, 0.72, 0.72), ["holds", "holds"]),
        ((0.5, 0.6, 0.65, 0.65, 0.7, 0.8), ["not decided", "does not hold"]),
        ((0.5, 0.6, 0.55, 0.65, 0.7, 0.9), ["does not hold", "does not hold"]),
    ],
    ids=["as in the paper", "a stage that adds nothing", "a stage that loses"],
)
def test_stages(stages, wanted):
    assert words(claims_report.stage_verdicts(run("six", *stages))) == wanted


def test_receptive_fields():
    rising = [run("22", 0.3, 0.4, field=22), run("125", 0.5, 0.7, field=125), run("310", 0.5, 0.75, field=310)]
    assert words(claims_report.field_verdicts(rising, 152)) == ["holds", "holds"]
    rising[2] = run("310", 0.5, 0.95, field=310)
    assert words(claims_report.field_verdicts(rising, 152)) == ["holds", "does not hold"]
