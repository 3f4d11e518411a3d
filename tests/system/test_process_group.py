"""Processes that meet and part: none is left with threads that outlive the interpreter."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

MEET = """
import os
from datetime import timedelta
import torch
from cpm_fast.system.process_group import join_group, leave_group

join_group("gloo", timedelta(minutes=2))
import torch._dynamo
assert torch.distributed.get_world_size() == 2
torch.distributed.barrier()
leave_group()
leave_group()
threads = [open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")]
assert not [name for name in threads if "gloo" in name], threads
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are listed in /proc")
def test_the_threads_of_a_group_end_with_it() -> None:
    """Though PyTorch's compiler, which is imported while there is a group, would hold on to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-c", MEET]
    processes = [
        subprocess.Popen(command, env={**os.environ, **where, "RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in "01"
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
