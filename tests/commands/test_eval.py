"""cpm-fast eval as typed: networks, files of predictions, metrics, written files and refused arguments."""

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cpm_fast.cli import BAD_RESULT, BAD_USE, FINE, main
from cpm_fast.commands import eval as command
from cpm_fast.config import Conv, NetworkConfig, preset
from cpm_fast.data.formats.lsp import FILE_ORDER
from cpm_fast.model.cpm import CPM
from cpm_fast.results.result import Results
from cpm_fast.skeleton import COCO, LSP
from cpm_fast.system.installation import install_command
from cpm_fast.system.output_folder import MANIFEST
from support.annotated import SMALL, Figures

NAMES = [f"im{i}.png" for i in range(4)]
WRITTEN = {"eval.json", "pck.png", "report.html", MANIFEST}


@pytest.fixture
def figures(tmp_path, monkeypatch) -> Figures:
    """Write four pictures with a table of LSP's parts, the truth as results, and an untrained network."""
    monkeypatch.chdir(tmp_path)
    figures = Figures(4, names=NAMES)
    columns = [f"{part}_{axis}" for part in LSP.names for axis in "xy"]
    rows = [",".join(["image", *columns])]
    for name, image, parts in zip(NAMES, figures.images, figures.parts_image, strict=True):
        cv2.imwrite(name, image)
        rows.append(",".join([name, *map(repr, parts.ravel().tolist())]))
    (tmp_path / "truth.csv").write_text("\n".join(rows))
    torch.manual_seed(0)
    CPM(NetworkConfig(**SMALL)).save(tmp_path / "net.safetensors")
    return figures


def test_a_network_s_predictions_score_the_same_when_they_are_read_again(figures, tmp_path, capsys):
    options = "--data truth.csv --model net.safetensors --pyramid 0.9 1.1 --flip --precision bf16 -o out"
    assert main(["eval", *shlex.split(options)]) == FINE
    shown = capsys.readouterr().out
    assert "PCK@0.2 of truth" in shown and "left and right averaged" in shown and "error in image pixels" in shown
    assert shown.rstrip().endswith("out/report.html, out/predictions.csv")
    assert {path.name for path in (tmp_path / "out").iterdir()} == WRITTEN | {"predictions.csv"}
    first = json.loads((tmp_path / "out" / "eval.json").read_text())
    assert first["source"] == "net.safetensors" and len(first["stages"]) == 2
    assert first["precision"] == "bf16" and "; pyramid 0.9, 1.1; bf16" in shown
    assert main(["eval", "--data", "truth.csv", "--predictions", "out/predictions.csv", "-o", "again"]) == FINE
    again = json.loads((tmp_path / "again" / "eval.json").read_text())
    assert {path.name for path in (tmp_path / "again").iterdir()} == WRITTEN
    assert again["stages"][0]["curve"] == first["stages"][1]["curve"]
    assert again["stages"][0]["mean_error_px"] == pytest.approx(first["stages"][1]["mean_error_px"], abs=1e-4)
    assert b"<!doctype html>" in (tmp_path / "again" / "report.html").read_bytes()


def test_options_say_how_a_file_is_read_and_scored(figures, capsys):
    order = ["neck", *(name for name in LSP.names if name != "neck")]
    values = figures.parts_image[:, [LSP.index(name) for name in order]] + 10
    np.savez("found.npz", preds=values)
    with open("order.toml", "w") as file:
        file.write(f"names = {order}")
    scored = ["eval", "--data", "truth.csv", "--predictions", "found.npz"]
    rule = "--metric pckh --reference neck:head_top --threshold 0.1 --centric observer"
    assert main([*scored, *shlex.split(f"--skeleton order.toml --first-pixel 10 {rule} --last 4")]) == FINE
    shown = capsys.readouterr().out
    assert "PCKh@0.1 of truth, percent; error over |neck - head_top| of the truth" in shown
    assert "stage 1 100.0" in shown and "observer-centric" in shown and "first pixel 10" in shown
    assert main([*scored, "--skeleton", "order.toml", "--reference", "pixel", "--threshold", "14.2"]) == FINE
    shown = capsys.readouterr().out
    assert "PCK@14.2 px" in shown and "stage 1 100.0" in shown and "mean (median) by stage: 14.1 (14.1)" in shown


def test_the_release_s_file_on_the_command_line(figures, tmp_path, capsys):
    savemat = pytest.importorskip("scipy.io").savemat
    values = figures.parts_image[:, [LSP.index(name) for name in FILE_ORDER]] + 1
    savemat(tmp_path / "LSP_prediction.mat", {"prediction_all": values.transpose(1, 2, 0)})
    scored = ["eval", "--data", "truth.csv", "--predictions", "LSP_prediction.mat"]
    assert main(scored) == FINE
    assert "stage 1 100.0" in capsys.readouterr().out
    assert main([*scored, "--last", "2"]) == BAD_USE
    assert "predictions must be 2, one per sample of truth, got 4; --last N" in capsys.readouterr().err


def people(count: int, area: bool = True) -> Figures:
    more = [{"identity": (i // 2, i), **({"area": 4000.0} if area else {})} for i in range(count)]
    return Figures(count, COCO, names=[f"{i // 2}.png" for i in range(count)], more=more)


def test_average_precision_of_a_network_and_of_a_file(figures, tmp_path, monkeypatch, capsys):
    pytest.importorskip("pycocotools", reason='OKS needs pip install -e ".[eval]"')
    data = people(4)
    monkeypatch.setattr(command, "open_dataset", lambda spec: data)
    assert main(["eval", "--data", "truth.csv", "--model", "net.safetensors", "--metric", "oks", "-o", "out"]) == FINE
    shown = capsys.readouterr().out
    assert "PCK@0.2" in shown and "object key point similarity" in shown and "AP75" in shown
    assert len(json.loads((tmp_path / "out" / "eval.json").read_text())["average_precision"]) == 2
    assert b"object key point similarity" in (tmp_path / "out" / "report.html").read_bytes()
    truth = np.insert(data.parts_image, 2, 1, axis=2).reshape(4, -1).tolist()
    entries = [{"image_id": i // 2, "keypoints": truth[i], "score": 1} for i in range(4)]
    (tmp_path / "found.json").write_text(json.dumps(entries))
    scored = ["eval", "--data", "truth.csv", "--predictions", "found.json", "--metric", "oks"]
    assert main([*scored, "-o", "out"]) == FINE
    assert "stage 1       100.0" in capsys.readouterr().out
    # There is one more prediction than subjects: the similarity matches them.
    (tmp_path / "found.json").write_text(json.dumps([*entries, {**entries[3], "score": 0.1}]))
    assert main(scored) == FINE
    shown = capsys.readouterr().out
    assert "PCK is left out: 1: 2 samples and 3 predictions" in shown and "stage 1       100.0" in shown
    assert main([*scored[:-1], "pck"]) == BAD_USE and "which is whose" in capsys.readouterr().err
    data = people(4, area=False)
    assert main(scored) == BAD_USE and "needs the area of every subject" in capsys.readouterr().err


def test_pycocotools_missing_is_said(figures, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    monkeypatch.setattr(command, "open_dataset", lambda spec: people(2))
    assert main(["eval", "--data", "truth.csv", "--model", "net.safetensors", "--metric", "oks"]) == BAD_RESULT
    assert f"OKS needs pycocotools; type: {install_command('eval')}" in capsys.readouterr().err


def test_no_score_is_a_bad_result(figures, capsys):
    Results([]).save("none.csv")
    lengths = ["--reference", "left_hip:right_hip"]
    with open("truth.csv") as file:
        head, *rows = file.read().splitlines()
    at = head.split(",").index("left_hip_x")
    cut = [row.split(",") for row in rows]
    with open("hipless.csv", "w") as file:
        file.write("\n".join([head, *(",".join([*row[:at], "", "", *row[at + 2 :]]) for row in cut)]))
    assert main(["eval", "--data", "hipless.csv", "--model", "net.safetensors", *lengths]) == BAD_RESULT
    assert "left out: 4 of 4 without left_hip or right_hip" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--predictions", "none.csv"], "none.csv: no such file"),
        (["--predictions", "im0.png"], "im0.png: predictions must be a file .mat, .json, .csv, .npz"),
        (["--predictions", "truth.csv", "--model", "net.safetensors"], "--model says how a network is run"),
        (["--predictions", "truth.csv", "--flip"], "--flip says how a network is run"),
        (["--predictions", "truth.csv", "--precision", "bf16"], "--precision says how a network is run"),
        (["--predictions", "truth.csv", "--protocol", "lsp"], "--protocol says how a network is run"),
        (["--first-pixel", "1"], "--first-pixel says how a file of predictions is read"),
        (["--skeleton", "lsp"], "--skeleton says how a file of predictions is read"),
        (["--predictions", "truth.csv", "--skeleton", "none.toml"], "none.toml"),
        (["--metric", "pckh"], "reference 'head' needs head lengths"),
        (["--reference", "shoulder"], "reference must be torso, head, box, pixel or two parts"),
        (["--reference", "pixel"], "threshold must be given in pixels"),
        (["--threshold", "nan"], "threshold must be a finite number"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said(figures, capsys, given, message):
    network = [] if "--predictions" in given else ["--model", "net.safetensors"]
    assert main(["eval", "--data", "truth.csv", *network, *given]) == BAD_USE
    assert message in capsys.readouterr().err


@pytest.fixture
def finder(figures) -> str:
    """Write weights of a finder that finds nobody."""
    config = replace(preset("finder"), trunk=((Conv(3, 4),),) * 3, tail=(), first=(Conv(3, 8),), refine=(Conv(3, 4),))
    model = CPM(replace(config, find_score=0.5))
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    model.save("finder.safetensors")
    return "finder.safetensors"


def test_whole_pictures(figures, finder, capsys):
    assert (
        main(["eval", "--data", "truth.csv", "--model", "net.safetensors", "--find", "--finder", finder, "-o", "out"])
        == FINE
    )
    shown = capsys.readouterr().out
    assert "subjects of truth in 4 pictures, found by finder.safetensors" in shown and "wrote out/find.json" in shown
    numbers = json.loads(Path("out/find.json").read_text())
    assert numbers["regions"][0]["missed"] == 4 and numbers["found"]["every"] == 0
    assert numbers["metric"] == "PCK@0.2" and numbers["true_regions"]["every"] is not None
    # Below the score of nobody the whole picture is the region.
    find = ["--finder", finder, "--min-find-score", "-0.5", "--max-subjects", "1", "-o", "all"]
    assert main(["eval", "--data", "truth.csv", "--model", "net.safetensors", *find]) == FINE
    numbers = json.loads(Path("all/find.json").read_text())
    assert numbers["regions"][0]["hits"] + numbers["regions"][0]["false"] == 4
    assert numbers["min_find_score"] == -0.5 and numbers["max_subjects"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "finder.safetensors"],
            "finder.safetensors: must be a network that locates parts, got a finder; "
            "score it with cpm-fast eval --find --finder finder.safetensors",
        ),
        (["--find", "--model", "finder.safetensors"], "must be a network that locates parts, got a finder"),
        (["--find"], "net.safetensors: names no finder; give one with --finder, or --find search"),
        (["--finder", "net.safetensors"], "find must be a finder, got net.safetensors"),
        (["--find", "search", "--finder", "finder.safetensors"], "--finder must stand without the word search"),
        (["--find", "--protocol", "lsp"], "--protocol does not go with --find"),
        (["--find", "--predictions", "truth.csv"], "--predictions does not go with --find"),
        (["--find", "--centric", "observer"], "--centric does not go with --find"),
        (["--find", "search", "--max-subjects", "0"], "max_subjects must be a positive whole number or None, got 0"),
        (["--finder", "finder.safetensors", "--min-find-score", "nan"], "min_find_score must be a finite number, got"),
        (["--max-subjects", "1"], "--max-subjects is for subjects that are looked for: give --find too"),
        (["--find", "--min-find-score", "0.5"], "min_find_score is for subjects that are looked for, got 0.5 with"),
    ],
)
def test_bad_use_of_find_is_told(figures, finder, capsys, arguments, message):
    model = [] if "--model" in arguments else ["--model", "net.safetensors"]
    assert main(["eval", "--data", "truth.csv", *model, *arguments]) == BAD_USE
    assert message in capsys.readouterr().err
