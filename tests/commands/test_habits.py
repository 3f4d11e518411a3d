"""Use in a terminal: versions, typing errors, pipes that close, quiet and verbose runs."""

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from cpm_fast import __version__
from cpm_fast.cli import BAD_RESULT, BAD_USE, FINE, main

RUN = [sys.executable, "-m", "cpm_fast"]


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == BAD_USE
    return capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0 and capsys.readouterr().out == f"cpm_fast {__version__}\n"


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_commands_let_idle_threads_of_pytorch_sleep_soon(given, spins):
    code = (
        "import os, sys, cpm_fast.cli\n"
        "try:\n    cpm_fast.cli.main(['--version'])\n"
        "except SystemExit:\n    print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    )
    environment = {
        name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment | given)
    assert run.stdout.splitlines()[-1] == f"{spins} False"


def test_typing_errors_are_answered_with_the_word_that_was_meant(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "did you mean 'infer'?" in refused(capsys, "infr", "a.png")
    assert "unrecognized arguments: --forn json; did you mean '--form'?" in refused(
        capsys, "infer", "a.png", "--forn", "json"
    )
    assert "unrecognized arguments: --outptu=x; did you mean '--output'?" in refused(
        capsys, "data", "check", "a", "--outptu=x"
    )
    assert "did you mean 'openpose'?" in refused(capsys, "infer", "a.png", "--form", "opnpose")
    assert refused(capsys, "infer", "--zzzzzz").endswith("unrecognized arguments: --zzzzzz\n")
    assert main(["train", "--preset", "compct", "--data", "synthetic:8", "-o", "r"]) == BAD_USE
    assert "did you mean 'compact'?" in capsys.readouterr().err
    assert main(["train", "--skeleton", "lps", "--data", "synthetic:8", "-o", "r"]) == BAD_USE
    assert "did you mean 'lsp'?" in capsys.readouterr().err
    cv2.imwrite("a.png", np.zeros((9, 9, 3), np.uint8))
    assert main(["infer", "a.png", "--model", "compact_lsp"]) == BAD_USE
    assert "did you mean 'compact-lsp'?" in capsys.readouterr().err


def test_words_in_the_wrong_place_are_answered_too(capsys):
    assert "unrecognized arguments: --verison; did you mean '--version'?" in refused(capsys, "--verison")
    assert "arguments: --model; the model stands without --model" in refused(
        capsys, "export", "--model", "a.safetensors", "-o", "a.onnx"
    )
    assert "are required: VERB" in refused(capsys)


def test_an_option_that_is_given_twice_is_told(capsys):
    assert main(["eval", "--data", "gone.csv", "--model", "a", "--model=b"]) == BAD_USE
    assert "warning: --model takes one value, got 2; only the last is used" in capsys.readouterr().err
    assert main(["infer", "gone.png", "-o", "x", "--output", "y"]) == BAD_USE
    told = capsys.readouterr().err
    assert "--output takes one value, got 2" in told and "--model" not in told
    assert main(["train", "--data", "gone.csv", "--data", "lost.csv"]) == BAD_USE
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["infer", "gone.png"],
        ["train", "--data", "gone/"],
        ["eval", "--data", "gone.csv"],
        ["export", "gone", "-o", "a"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_is_missing_is_told_before_pytorch_is_imported(arguments, tmp_path):
    code = (
        "import sys; from cpm_fast.cli import main; found = main(sys.argv[1:]); "
        "sys.exit(found if not {'torch', 'cv2'} & set(sys.modules) else 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == BAD_USE and "gone" in done.stderr


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path):
    code = (
        "import sys; from cpm_fast import cli; cli._doctor = lambda _: print('x' * 200000) or 0; "
        "sys.exit(cli.main(['doctor']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(1)
        process.stdout.close()
        told = process.stderr.read()
        assert process.wait() == BAD_RESULT and told == b""


def test_quiet_and_talkative(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("a.png", np.zeros((90, 90, 3), np.uint8))
    infer = ["infer", "a.png", "--model", "compact-drawn", "--no-pictures", "--find", "search"]
    assert main([*infer, "-q", "-o", "q"]) == FINE
    quiet = capsys.readouterr()
    assert quiet.out == "" and "warning: no subject found" in quiet.err and (tmp_path / "q" / "results.json").exists()
    assert main([*infer, "-v", "-o", "v"]) == FINE
    talkative = capsys.readouterr()
    assert "cpm_fast.weights" in talkative.err and "compact-drawn" in talkative.err and "wrote" in talkative.out
    assert main([*infer, "-o", "plain"]) == FINE and "cpm_fast.weights" not in capsys.readouterr().err
    assert main(["infer", "gone.png", "-v"]) == BAD_USE
    assert "Traceback" in capsys.readouterr().err
    assert "not allowed with" in refused(capsys, *infer, "-q", "-v")


def test_a_quiet_training_shows_no_bar(tmp_path, capsys):
    train = ["train", "--data", "synthetic:8", "--hold-out", "2", "--batch", "4", "--epochs", "1", "--workers", "0"]
    assert main([*train, "-q", "-o", str(tmp_path / "q")]) == FINE
    quiet = capsys.readouterr()
    assert quiet.out == "" and "step" not in quiet.err and (tmp_path / "q" / "final.safetensors").exists()
    assert main([*train, "-o", str(tmp_path / "plain")]) == FINE
    talkative = capsys.readouterr()
    assert "step/s" in talkative.err and "PCK" in talkative.out
