"""Processes of torchrun: their ranks, equal settings, and limits on waiting."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from cpm_fast.system.ranks import Ranks, join, launched, main_process
from support.ports import free_port

MEET = """
import os
import torch
from cpm_fast.system.ranks import join, leave

join()
import torch._dynamo
assert torch.distributed.get_world_size() == 2
torch.distributed.barrier()
leave()
leave()
threads = [open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")]
assert not [name for name in threads if "gloo" in name], threads
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are listed in /proc")
def test_the_threads_of_a_group_end_with_it() -> None:
    """PyTorch's compiler, imported while there is a group, would otherwise keep it alive."""
    where = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    command = [sys.executable, "-c", MEET]
    processes = [
        subprocess.Popen(command, env={**os.environ, **where, "RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in "01"
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "2"}, "RANK, MASTER_ADDR, MASTER_PORT is not set: start with torchrun"),
        ({"WORLD_SIZE": "2", "RANK": "5", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK must be from 0 to .* got 5"),
        ({"WORLD_SIZE": "2", "RANK": "-1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK must be from 0 to .* got -1"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be a whole number, got 'two'"),
        ({"WORLD_SIZE": "\u00b2"}, "WORLD_SIZE must be a whole number, got '\u00b2'"),
        ({"WORLD_SIZE": "--2"}, "WORLD_SIZE must be a whole number, got '--2'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE must be at least 1, got 0"),
        ({"RANK": "1"}, "RANK is 1, but WORLD_SIZE is not set: start with torchrun"),
        ({"RANK": "1", "WORLD_SIZE": "1"}, "RANK is 1, but WORLD_SIZE is 1: start with torchrun"),
        (
            {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1", "LOCAL_RANK": "-1"},
            "LOCAL_RANK must be 0 or more, got -1",
        ),
    ],
)
def test_variables_that_do_not_fit_together(monkeypatch, variables, message):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert launched() == Ranks() and main_process()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for ask in (launched, main_process, join):
        with pytest.raises(ValueError, match=message):
            ask()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", ["soon", "inf", "nan", "-1", "0", "1e300"])
def test_the_time_to_wait_is_a_number_of_seconds(monkeypatch, seconds):
    variables = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in {**variables, "CPM_FAST_WAIT_SECONDS": seconds}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"CPM_FAST_WAIT_SECONDS must be a number of seconds, .* got '{seconds}'"):
        join()


def test_waiting_for_the_others_has_an_end() -> None:
    where = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    code = "from cpm_fast.system.ranks import join; join()"
    environment = {**os.environ, **where, "CPM_FAST_WAIT_SECONDS": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 1
    assert f"2 processes did not reach 127.0.0.1:{where['MASTER_PORT']} within 3 s" in done.stderr


@pytest.mark.parametrize("waiting", [0, 8], ids=["takes connections", "takes none"])
def test_a_host_that_never_answers_ends_the_wait(waiting: int) -> None:
    """A program takes connections and says nothing; a second one has no room for more connections."""
    with socket.socket() as silent, ExitStack() as others:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0 if waiting else 16)
        for _ in range(waiting):
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(silent.getsockname())
        where = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1"}
        where["MASTER_PORT"] = str(silent.getsockname()[1])
        code = "from cpm_fast.system.ranks import join; join()"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **where, "CPM_FAST_WAIT_SECONDS": "3"},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 1
    reason = "timed out" if waiting else "no answer"
    assert f"process 1 of 2 can't reach 127.0.0.1:{where['MASTER_PORT']} within 3 s: {reason}" in done.stderr


AGREE = """
import os
from cpm_fast.system.ranks import join

ranks = join()
assert ranks.gather(10 + ranks.rank) == ([10, 11] if ranks.main else [])
assert ranks.part(range(5)) == ([0, 2, 4] if ranks.main else [1, 3]) and ranks.total(3) == 6
ranks.agree({"seed": 1})
try:
    ranks.agree({"seed": 1, "rate": 0.1 + ranks.rank})
except ValueError as error:
    assert "all processes must have the same rate, got 0.1 in process 0 and 1.1 in process 1" in str(error)
else:
    raise AssertionError
try:
    # The value that differs is named, however much stands before it.
    ranks.agree({"recipe": {"long": "x" * 300, "optimizer": {"rate": 0.1 + ranks.rank}}})
except ValueError as error:
    assert "the same recipe optimizer rate, got 0.1 in process 0 and 1.1 in process 1" in str(error), error
else:
    raise AssertionError
"""


@pytest.mark.slow
def test_processes_share_and_agree() -> None:
    where = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", AGREE], env={**os.environ, **where, "RANK": rank}, stderr=subprocess.PIPE, text=True
        )
        for rank in "01"
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
