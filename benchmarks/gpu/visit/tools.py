"""Programs that steps start: their path, a run with a time limit, and their output."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.gpu.visit.cases import Skipped
from benchmarks.gpu.visit.processes import LIMIT, die_with_parent

ROOT = Path(__file__).resolve().parent.parent.parent.parent
# The limit of a program that only its step's limit ends, which --limit may raise.
NEVER_S = 3600.0
# A step's process imports this module at once.
BEGIN = time.monotonic()
# The share of its step's time that a program may use, so that its process can still report the output.
ALL_BUT_THE_END = 0.97


def found(tool: str) -> str:
    """Return the program's path.

    Raises:
        Skipped: it is neither on PATH nor with CUDA.
    """
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    # NVIDIA's packages put ncu in a folder of its own.
    nsight = sorted(map(str, Path("/opt/nvidia/nsight-compute").glob("*")), reverse=True)
    places = [*(os.path.join(home, "bin") for home in homes if home), *nsight]
    path = shutil.which(tool) or shutil.which(tool, path=os.pathsep.join(places))
    if path is None:
        raise Skipped(f"{tool} is neither on PATH nor in {', '.join(places)}")
    return path


def left_s(share: float = ALL_BUT_THE_END) -> float:
    """Return the seconds until that share of the time of this step's process is over, at least 1."""
    return max(1.0, share * float(os.environ.get(LIMIT, NEVER_S)) - (time.monotonic() - BEGIN))


def output(command: Sequence[str], limit_s: float = 30, environment: Mapping[str, str] | None = None) -> str:
    """Return the output of a command, stderr included.

    Raises:
        RuntimeError: it fails, or takes longer than the limit; the message has the end of its output.
    """
    code, text = run(command, limit_s, environment)
    if code:
        raise RuntimeError(f"{command[0]} ended with code {code}: {text[-1500:]}")
    return text


def run(
    command: Sequence[str],
    limit_s: float,
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> tuple[int, str]:
    """Return exit code and output, which is printed as well; the code is 124 if the limit ended it."""
    print("$ " + " ".join(command), flush=True)
    # It gets its own group, so that its children end with it, and no other process holds the end of its output.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        pass_fds=descriptors,
        process_group=0,
        preexec_fn=die_with_parent,
    )
    code = 124
    try:
        data, _ = process.communicate(timeout=limit_s)
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        data, _ = process.communicate()
    text = data.decode(errors="replace")
    print(text, flush=True)
    return code, text


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]
