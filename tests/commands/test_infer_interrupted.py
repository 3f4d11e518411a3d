"""cpm-fast infer on a folder ends at Ctrl-C and SIGTERM, and what it leaves can be resumed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cpm_fast.cli import BAD_RESULT, FINE, TERMINATED, main
from cpm_fast.results.result import Results
from support.infer_runs import PICTURES, same, shown

# Programs in the background start with SIGINT ignored.
HEEDING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from cpm_fast.cli import main
sys.exit(main(sys.argv[1:]))
"""
# Seconds until the first results, and from a signal to the end; a busy machine stays below them.
SOON = 120


def stopped(arguments: tuple[str, ...], journals: Path, number: int) -> tuple[int, str]:
    """Start a command, send it a signal when its journal has three lines, and return its code and its messages."""
    command = [sys.executable, "-W", "ignore", "-c", HEEDING, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + SOON
        while sum(path.read_bytes().count(b"\n") for path in journals.rglob("*.jsonl")) < 3:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.002)
        process.send_signal(number)
        _, told = process.communicate(timeout=SOON)
    finally:
        process.kill()
        process.wait()
    return process.returncode, told


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, BAD_RESULT), (signal.SIGTERM, TERMINATED)], ids=str)
def test_a_folder_can_be_resumed(work: Path, capsys: pytest.CaptureFixture[str], number: int, code: int) -> None:
    (work / "in" / "05-bad.png").unlink()
    for i in range(11, 150):
        shutil.copy(work / "in" / f"{i % 11:02}.png", work / "in" / f"{i:03}.png")
    found, told = stopped((*PICTURES, "-o", "out"), work / "out", number)
    assert found == code and "stopped; run the same command with --resume to continue" in told
    assert "Traceback" not in told and shown(work / "out") == {".unfinished"}
    assert {path.name for path in (work / "out" / ".unfinished").iterdir()} == {"settings.json", "0-0.jsonl"}
    assert main([*PICTURES, "-o", "out", "--resume"]) == FINE
    assert "resuming: " in capsys.readouterr().out
    assert main([*PICTURES, "-o", "whole"]) == FINE
    same(Results.load("whole/results.json"), Results.load("out/results.json"))
    assert shown(work / "out") == {"results.json"}
