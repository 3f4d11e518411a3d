"""The command line, called in-process: help, exit codes, written files, and the messages for bad use."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from cpm_fast import weights
from cpm_fast.cli import BAD_RESULT, BAD_USE, FINE, main
from cpm_fast.config import PRESETS, preset
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import load_model, save_model
from cpm_fast.results.result import Results
from cpm_fast.system.output_folder import MANIFEST
from cpm_fast.training import task
from cpm_fast.training.targets import loss
from support import caffe_file
from support.small_network import TINY

LABEL_VERBS = ("frames", "label", "suggest", "project")
VERBS = ("demo", "infer", "train", "eval", "data", *LABEL_VERBS, "import", "export", "doctor")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch, one_thread):
    """An empty folder to work in, one thread, and a preset "tiny"."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PRESETS, "tiny", TINY)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    save_model(CPM(TINY), tmp_path / "tiny.safetensors")
    return "tiny.safetensors"


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("a.jpg", "b.png", "c.jpg"):
        cv2.imwrite(str(folder / name), random.integers(0, 256, (48, 40, 3), dtype=np.uint8))
    return folder


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def refused(capsys, *arguments: str) -> str:
    """Bad use that argparse finds: exit code 2 and its message."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == BAD_USE
    return capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(capsys, verb):
    with pytest.raises(SystemExit) as exit_:
        main([verb, "--help"])
    shown = capsys.readouterr().out
    assert exit_.value.code == FINE and f"usage: cpm-fast {verb}" in shown
    for line in shown.split("options:")[1].split("\n  -")[1:]:
        assert len(line.split()) > 2, f"no word of help: {line}"


def test_the_verbs_are_listed(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    shown = capsys.readouterr().out
    assert exit_.value.code == FINE and all(f"\n    {verb} " in shown for verb in VERBS)


def test_as_a_module():
    command = [sys.executable, "-m", "cpm_fast", "--help"]
    folder = weights.FOLDER.parents[1]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder, check=False)
    assert found.returncode == FINE and "usage: cpm-fast" in found.stdout and found.stderr == ""


BAD_USES = {
    "no verb": ([], "required: VERB"),
    "unknown verb": (["dance"], "invalid choice: 'dance'"),
    "unknown form": (["infer", "a.png", "--form", "xml"], "invalid choice: 'xml'"),
    "shortened option": (["infer", "a.png", "--mod", "x"], "--mod"),
    "three numbers": (["infer", "a.png", "--box", "1", "2", "3"], "expected 4 arguments"),
    "no data": (["eval"], "required: --data"),
    "a word in a box": (["infer", "a.png", "--box", "1", "2", "3", "x"], "invalid float value: 'x'"),
    "resume elsewhere": (["train", "--resume", "a", "-o", "b"], "not allowed with"),
    "a word for a number": (["train", "--batch", "many"], "invalid int value"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_USES.values(), ids=BAD_USES)
def test_bad_use(capsys, arguments, message):
    assert message in refused(capsys, *arguments)


def test_infer_writes_results_and_pictures(model, pictures, capsys):
    assert main(["infer", "pictures", "--model", model, "-o", "out", "--stages"]) == FINE
    written = {path.name for path in (pictures.parent / "out").iterdir()}
    drawn = (f"{stem}_{what}.png" for stem in "abc" for what in ("pose", "stages"))
    assert written == {MANIFEST, "results.json", *drawn}
    results = Results.load("out/results.json")
    assert [len(result) for result in results] == [1, 1, 1] and results[0].keypoints.shape == (1, 14, 2)
    shown = capsys.readouterr().out
    assert "3 pictures, 3 subjects" in shown and "results.json" in shown and "and 2 more" in shown


@pytest.mark.parametrize("form", ["json", "csv", "npz"])
def test_infer_writes_the_form_asked_for(model, pictures, form):
    arguments = ["infer", "pictures/a.jpg", "pictures/b.png", "--model", model, "-o", "out", "--no-pictures"]
    assert main([*arguments, "--form", form]) == FINE
    assert {path.name for path in (pictures.parent / "out").iterdir()} == {MANIFEST, f"results.{form}"}
    assert len(Results.load(f"out/results.{form}")) == 2


def test_infer_with_boxes(model, pictures):
    boxes = shlex.split("--box 2 3 30 40 --box 5 5 20 20")
    assert main(["infer", "pictures/a.jpg", "--model", model, "-o", "out", *boxes]) == FINE
    result = Results.load("out/results.json")[0]
    assert len(result) == 2 and result.rois[1].center == (12.5, 12.5) and result.roi_source == "boxes"


def test_pictures_of_the_same_name_do_not_overwrite_each_other(model, pictures):
    (pictures / "more").mkdir()
    (pictures / "more" / "a.jpg").write_bytes((pictures / "a.jpg").read_bytes())
    assert main(["infer", "pictures/a.jpg", "pictures/more/a.jpg", "--model", model, "-o", "out"]) == FINE
    assert {path.name for path in (pictures.parent / "out").glob("*.png")} == {"a_pose.png", "a-2_pose.png"}


def test_a_truncated_picture_is_reported_and_the_others_are_done(model, pictures, capsys):
    cut(pictures / "c.jpg")
    assert main(["infer", "pictures", "--model", model, "-o", "out"]) == BAD_RESULT
    shown = capsys.readouterr()
    assert "2 pictures" in shown.out and "failed: pictures/c.jpg: pictures/c.jpg: the JPEG is cut short" in shown.err
    results = Results.load("out/results.json")
    assert [result.name for result in results] == ["pictures/a.jpg", "pictures/b.png"]
    assert list(results.failures) == ["pictures/c.jpg"]
    assert {path.name for path in (pictures.parent / "out").glob("*.png")} == {"a_pose.png", "b_pose.png"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["infer"], "name pictures, folders of them, videos, or a --camera"),
        (["infer", "none.jpg"], "none.jpg: no such image or folder"),
        (["infer", "empty"], "empty: the folder has no image files"),
        (["infer", "torn.jpg"], "torn.jpg: the JPEG is cut short"),
        (["infer", "pictures/a.jpg", "pictures/b.png", "--box", "1", "2", "3", "4"], "--box must come with one"),
        (["infer", "pictures", "--box", "1", "2", "3", "4"], "--box must come with one picture"),
        (["infer", "pictures/a.jpg", "--box", "30", "2", "3", "4"], "left < right"),
        (["infer", "pictures/a.jpg", "--box", "nan", "2", "3", "4"], "finite"),
        (["infer", "pictures/a.jpg", "--box", "500", "500", "600", "600"], "must touch the image"),
        (["infer", "pictures", "--pyramid", "0"], "pyramid must be"),
        (["infer", "pictures", "--batch", "0"], "batch must be a positive"),
        (["infer", "pictures", "--device", "tpu"], "device must be auto, cpu or cuda"),
        (["infer", "pictures", "--model", "none"], "none: neither a file nor one of the bundled"),
        (["infer", "pictures", "--model", "torn.jpg"], "torn.jpg: not a .safetensors file"),
        (["infer", "pictures", "-o", "torn.jpg"], "torn.jpg"),
        (["eval", "--data", "none"], "none: no such file or folder"),
        (["eval", "--data", "empty"], "this folder holds 0 of them"),
        (["eval", "--data", "synthetic:few"], "synthetic:COUNT"),
        (["eval", "--data", "synthetic:2", "--last", "-1"], "hold-out must be"),
        (["train", "--preset", "cpm7"], "preset must be one of"),
        (["train", "--recipe", "cake"], "recipe must be one of"),
        (["train", "--recipe", "cake.json"], "cake.json"),
        (["train", "--preset", "tiny", "--init", "none"], "none: neither a file nor one of the bundled"),
        (["train", "--preset", "tiny", "--skeleton", "bird"], "bird: skeleton must be one of"),
        (["train", "--preset", "tiny", "--input-size", "63", "64"], "input_size must be (height, width), positive"),
        (["train", "--preset", "tiny", "--average", "1"], "average must be from 0"),
        (["train", "--preset", "tiny", "--accumulate", "0"], "accumulate must be"),
        (["train", "--preset", "tiny", "--occlude", "2"], "occlude_probability must be"),
        (["train", "--preset", "tiny", "--robust", "-1"], "robust must be 0 or more"),
        (["train", "--preset", "tiny", "--robust", "1e-308"], "robust must be 0, or 1e-06 or more, got 1e-308"),
        (["train", "--preset", "tiny", "--data", "none.csv"], "none.csv: no such file"),
        (["train", "--preset", "tiny", "--epochs", "0"], "epochs must be"),
        (["train", "--preset", "tiny", "--epochs", "inf"], "epochs must be"),
        (["train", "--preset", "tiny", "--batch", "0"], "batch must be"),
        (["train", "--preset", "tiny", "--save-every", "0"], "save_every must be at least 1"),
        (["train", "--preset", "tiny", "--validate-every", "inf"], "validate_every must be"),
        (
            ["train", "--preset", "tiny", "--validate-every", "1e308"],
            "at most 1e+09, got 1e+308",
        ),
        (["train", "--preset", "tiny", "--seed", "-1"], "seed must be"),
        (["train", "--preset", "tiny", "--data", "synthetic:9", "--hold-out", "9"], "hold-out must be from 0 to 8"),
        (["train", "--preset", "tiny", "--data", "synthetic:9", "--hold-out", "1", "--hold-out", "1"], "once for each"),
        (["train", "--resume", "none"], "none/config.json: no such file"),
        (["train", "--resume", "empty"], "empty/config.json: no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_and_exits_with_2(model, pictures, capsys, arguments, message):
    (pictures.parent / "empty").mkdir()
    (pictures.parent / "torn.jpg").write_bytes((pictures / "a.jpg").read_bytes())
    cut(pictures.parent / "torn.jpg")
    if arguments[0] != "train" and "--model" not in arguments:
        arguments = [*arguments, "--model", model]
    before = set(pictures.parent.iterdir())
    assert main(arguments) == BAD_USE
    shown = capsys.readouterr()
    assert shown.err.startswith(f"cpm-fast {arguments[0]}: ") and message in shown.err
    assert set(pictures.parent.iterdir()) == before


def test_train_then_resume_then_eval(tmp_path, capsys):
    data = shlex.split("--data synthetic:24 --hold-out 4 --batch 8 --epochs 2 --workers 0")
    options = [*data, *shlex.split("--preset tiny --device cpu --scale 0.8 1.1 --rotate 15")]
    assert main(["train", *options, "-o", "run"]) == FINE
    augmentation = json.loads((tmp_path / "run" / "config.json").read_text())["training"]["augmentation"]
    assert [augmentation[name] for name in ("scale_min", "scale_max", "rotate_degrees")] == [0.8, 1.1, 15.0]
    shown = capsys.readouterr().out
    assert "20 to train on, 4 held out" in shown and "2 stages, 14 parts" in shown
    assert shown.rstrip().endswith("wrote run/final.safetensors")
    whole = load_model("run/final.safetensors").state_dict()
    assert main(["train", *options, "-o", "run"]) == BAD_USE
    assert "holds a run already" in capsys.readouterr().err

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "make_targets", stopping_after(2, task.make_targets))
        given = ["--save-every", "2", "--validate-every", "0.5"]
        assert main(["train", *options, *given, "-o", "again"]) == BAD_RESULT
    assert not (tmp_path / "again" / "final.safetensors").exists()
    capsys.readouterr()
    assert main(["train", "--resume", "again", *options]) == FINE
    shown = capsys.readouterr().out
    assert "run       again" in shown and "step 3 " in shown, "the resumed run validates as often"
    for name, tensor in load_model("again/final.safetensors").state_dict().items():
        assert torch.equal(tensor, whole[name]), name

    scored = ["eval", "--data", "synthetic:24", "--last", "4", "--model", "run/final.safetensors"]
    assert main([*scored, "-o", "score"]) == FINE
    table = capsys.readouterr().out
    rows = [line.split()[:2] for line in table.splitlines() if line.startswith("stage")]
    assert rows == [["stage", "1"], ["stage", "2"]] * 2, "part by part, then with left and right averaged"
    assert json.loads((tmp_path / "score" / "eval.json").read_text()) and (tmp_path / "score" / "pck.png").exists()


def test_a_recipe_that_is_none(tmp_path, capsys):
    for content in ("[1]", '{"batch": "many"}', "[" * 100_000):
        (tmp_path / "recipe.json").write_text(content)
        assert main(["train", "--preset", "tiny", "--recipe", "recipe.json"]) == BAD_USE
        assert "recipe.json: not a recipe: " in capsys.readouterr().err


def test_train_from_other_weights_with_every_option(tmp_path, model, capsys):
    (tmp_path / "recipe.json").write_text('{"optimizer": "adamw", "learning_rate": 0.001, "stage_factors": [1, 2]}')
    data = "--data synthetic:12 --hold-out 2 --batch 4 --epochs 1 --workers 0 --color 0.2 --occlude 0.5"
    network = f"--preset tiny --skeleton mpii --init {model} --input-size 64 72 --width 1.5 --stages 3"
    training = "--recipe recipe.json --loss mask --accumulate 2 --recompute --average 0.9 --robust 1 --precision bf16"
    options = shlex.split(f"{data} {network} {training} --scheme stagewise --center-error 3")
    assert main(["train", *options, "-o", "run"]) == FINE
    shown = capsys.readouterr().out
    assert "3 stages, 16 parts" in shown and "new: other parts" in shown and "numbers from tiny.safetensors" in shown
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    training = config["training"]
    assert config["network"]["input_size"] == [64, 72]
    assert training["stage_factors"] == [1, 2] and training["average"] == 0.9 and training["scheme"] == "stagewise"
    assert training["augmentation"]["contrast"] == 0.2 and training["augmentation"]["center_px"] == 3
    assert config["options"]["recompute"] and config["start"] == "tiny.safetensors" and training["accumulate"] == 2
    assert main(["train", "--resume", "run", "--workers", "0"]) == FINE


def stopping_after(steps: int, real):
    calls = []

    def stopping(*args):
        calls.append(None)
        if len(calls) > steps:
            raise KeyboardInterrupt
        return real(*args)

    return stopping


@pytest.mark.parametrize("content", ['{"network": []}', "[" * 100_000], ids=["no config", "deep"])
def test_a_broken_run_folder(tmp_path, capsys, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(content)
    assert main(["train", "--resume", "run"]) == BAD_USE
    assert "run/config.json: not the config of a run" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_is_a_bad_result(monkeypatch, capsys):
    monkeypatch.setattr(loss, "stage_losses", lambda *args: torch.tensor([float("nan")] * 2, requires_grad=True))
    data = ["--data", "synthetic:9", "--batch", "4", "--epochs", "1", "--workers", "0"]
    assert main(["train", "--preset", "tiny", *data]) == BAD_RESULT
    assert "at step 1: lower the learning rate" in capsys.readouterr().err


def test_import_prints_what_went_where(tmp_path, capsys):
    random = np.random.default_rng(0)
    sides = ((128, 3, 9), (128, 128, 9), (128, 128, 9), (32, 128, 5), (512, 32, 9), (512, 512, 1), (10, 512, 1))
    blobs = {
        f"conv{number}_stage1": [
            0.01 * random.standard_normal((out, channels, kernel, kernel), np.float32),
            np.zeros(out, np.float32),
        ]
        for number, (out, channels, kernel) in enumerate(sides, 1)
    }
    (tmp_path / "flic.caffemodel").write_bytes(caffe_file.net(blobs))
    assert main(["import", "flic.caffemodel", "-o", "flic.safetensors"]) == FINE
    shown = capsys.readouterr().out
    assert "1 stages, 9 parts (flic)" in shown and "wrote flic.safetensors" in shown
    assert load_model("flic.safetensors").config == replace(preset("flic"), stages=1)
    # Weights of one stage do not make a whole network of four.
    assert main(["import", "flic.caffemodel", "-o", "no.safetensors", "--preset", "flic"]) == BAD_RESULT
    assert "wrote nothing: 21 convolutions do not fit" in capsys.readouterr().out
    skeleton = ["--skeleton", "lsp"]
    assert main(["import", "flic.caffemodel", "-o", "no.safetensors", *skeleton]) == BAD_USE
    assert "flic.caffemodel: its network has 9 parts, 'lsp' has 14" in capsys.readouterr().err
    cut(tmp_path / "flic.caffemodel")
    assert main(["import", "flic.caffemodel", "-o", "no.safetensors"]) == BAD_USE
    assert "flic.caffemodel: not a .caffemodel that can be read" in capsys.readouterr().err
    assert not (tmp_path / "no.safetensors").exists()


def test_export_says_how_closely_it_agrees(model, tmp_path, capsys):
    assert main(["export", model, "-o", "tiny.pt2", "--decode"]) == FINE
    assert "equals PyTorch to" in (shown := capsys.readouterr().out) and "wrote tiny.pt2" in shown
    assert (tmp_path / "tiny.pt2").stat().st_size > 1000
    assert main(["export", model, "-o", "tiny.tflite"]) == BAD_USE
    assert "path must end in .onnx or .pt2, got 'tiny.tflite'" in capsys.readouterr().err


def test_doctor_reports(capsys):
    assert main(["doctor"]) in (FINE, BAD_RESULT)
    assert torch.__version__.split("+")[0] in capsys.readouterr().out


@pytest.mark.skipif(
    not (weights.FOLDER / f"{weights.DRAWN}.safetensors").is_file(),
    reason="the bundled weights of the demo are missing",
)
def test_the_demo_finds_the_figures(tmp_path, capsys):
    torch.set_num_threads(2)
    assert main(["demo", "-o", "demo", "--figures", "16"]) == FINE
    pictures = {"poses.png", "stages0.png", "stages1.png"}
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {*pictures, "results.json", "results.csv", MANIFEST}
    assert "wrote" in capsys.readouterr().out
