"""Signals to data workers."""

import signal
import subprocess
import sys

import pytest

WORKER = """
import os, signal, subprocess, time
from cpm_fast.system.interrupt import leave_interrupts_to_parent

ready, started = os.pipe()
worker = os.fork()
if worker == 0:
    leave_interrupts_to_parent()
    os.write(started, b".")
    time.sleep(30)
    os._exit(3)
os.read(ready, 1)
for name in ("-INT", "-TERM"):
    subprocess.run(["kill", name, str(worker)], check=True)
time.sleep(0.3)
print("others:", os.waitpid(worker, os.WNOHANG))
os.kill(worker, signal.SIGTERM)
print("parent:", os.waitpid(worker, 0)[1])
"""


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="the system does not tell who sent a signal")
def test_only_its_parent_ends_a_worker():
    shown = subprocess.run([sys.executable, "-c", WORKER], capture_output=True, text=True, timeout=60)
    assert shown.stdout.splitlines() == ["others: (0, 0)", "parent: 0"], shown.stderr
