"""Ctrl-C in calls of an engine and of infer: they end soon, leave nothing behind, and later calls give the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

import cpm_fast
from cpm_fast import Engine
from support.small_network import LARGE, crops, needs_native, network

# Seconds from the signal to the end of the process; a busy machine stays below it.
SOON = 60
LOOP = """
import os, signal, sys, threading
from pathlib import Path
import numpy as np, torch, cpm_fast

# Programs in the background start with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
what, model = sys.argv[1], cpm_fast.load("compact-drawn", device="cpu")
image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
engine, x = cpm_fast.Engine(model, threads=2), torch.ones(2, 3, *model.config.input_size)
call = {
    "engine": lambda: engine(x)[-1].numpy(),
    "infer": lambda: cpm_fast.infer([image] * 4, model=model, batch=2, threads=2)[3].keypoints,
    "stream": lambda: [result.keypoints for result in cpm_fast.stream([image] * 4, model=model)][3],
}[what]
wanted, held = call(), lambda: (threading.active_count(), len(os.listdir("/proc/self/fd")))
before = held()
try:
    print("ready", flush=True)
    while True:
        call()
except KeyboardInterrupt:
    np.testing.assert_allclose(call(), wanted, atol=1e-3)
    assert held() == before, (held(), before)
    children = Path("/proc/self/task", str(os.getpid()), "children").read_text()
    print("the same;", children.strip() or "no children", flush=True)
    raise
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts are those of Linux")
@pytest.mark.parametrize("what", ["engine", "infer", "stream"])
def test_a_loop_of_calls_ends_at_ctrl_c(what: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", LOOP, what]
    # torch._inductor makes a folder of its own.
    places = {"TMPDIR": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path.with_name("inductor"))}
    process = subprocess.Popen(
        command, env={**os.environ, **places}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        shown, told = process.communicate(timeout=SOON)
    finally:
        process.kill()
        process.wait()
    assert shown == "the same; no children\n", told
    assert process.returncode == -signal.SIGINT and told.splitlines()[-1] == "KeyboardInterrupt"
    assert list(tmp_path.iterdir()) == []


def interrupted(call: Any, line: int) -> bool:
    """Raise KeyboardInterrupt in the package's line of this number; return whether the call came so far."""
    left = line

    def at_line(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal left
        if str(Path(cpm_fast.__file__).parent) not in frame.f_code.co_filename:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return at_line

    before = sys.gettrace()
    sys.settrace(at_line)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@needs_native
@pytest.mark.parametrize("calls", [0, 1], ids=["first call", "later call"])
def test_a_call_interrupted_at_any_line_spoils_no_other(calls: int) -> None:
    model, x = network(LARGE), crops(LARGE, 1)
    wanted, line = Engine(model)(x), 1
    threads, setting = torch.get_num_threads(), torch.is_grad_enabled()
    while True:
        fresh = cpm_fast.CPM(LARGE)
        fresh.load_state_dict(model.state_dict())
        engine = Engine(fresh.eval(), threads=1)
        for _ in range(calls):
            engine(x)
        ended = not interrupted(lambda engine=engine: engine(x), line)
        # In another thread, a lock that was left would wait for ever.
        again = engine(x)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(again, wanted, strict=True)), line
        assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, setting)
        assert not torch.is_inference_mode_enabled()
        if ended:
            break
        line += max(1, line // 3)
    assert line > 100
