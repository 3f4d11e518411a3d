"""infer in other processes: spawned, forked after use, in a pool, in a preforking server, in data loaders' workers."""

from __future__ import annotations

import subprocess
import sys

import pytest

START = """
import multiprocessing, os, sys, warnings
import numpy as np, torch
warnings.simplefilter("ignore")
import cpm_fast
image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)

def parts(threads=None):
    return cpm_fast.infer([image] * 2, model="compact-lsp", threads=threads)[1].keypoints

def same(found, wanted):
    return len(found) == len(wanted) and np.allclose(found, wanted, atol=1e-3, equal_nan=True)
"""
# (name, program): each prints "same" for every process with the parent's results.
PROGRAMS = {
    "fork after use": (
        """
def child(threads, queue):
    queue.put(parts(threads))
if __name__ == "__main__":
    torch.set_num_threads(2)
    wanted = parts()
    context = multiprocessing.get_context("fork")
    for threads in (None, 1, 2):
        queue = context.Queue()
        process = context.Process(target=child, args=(threads, queue)); process.start()
        assert same(queue.get(timeout=100), wanted); process.join(); print("same")
""",
        3,
    ),
    "pool": (
        """
if __name__ == "__main__":
    torch.set_num_threads(2)
    wanted = parts()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for found in pool.map(parts, [None, 1, 2]):
            assert same(found, wanted); print("same")
""",
        3,
    ),
    "preforking server": (
        """
if __name__ == "__main__":
    torch.set_num_threads(2)
    wanted, children = parts(), []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            grandchild = os.fork()
            good = same(parts(2), wanted)
            if grandchild:
                good = good and os.waitpid(grandchild, 0)[1] == 0
            os._exit(0 if good else 1)
        children.append(child)
    assert same(parts(), wanted)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0; print("same")
""",
        2,
    ),
    "data loader": (
        """
class Set(torch.utils.data.Dataset):
    def __len__(self): return 4
    def __getitem__(self, index): return parts()
if __name__ == "__main__":
    torch.set_num_threads(2)
    wanted = parts()
    for found in torch.utils.data.DataLoader(Set(), num_workers=2, batch_size=None):
        assert same(np.asarray(found), wanted); print("same")
""",
        4,
    ),
    "spawn": (
        """
def child(queue):
    queue.put(parts())
if __name__ == "__main__":
    wanted = parts()
    context = multiprocessing.get_context("spawn"); queue = context.Queue()
    process = context.Process(target=child, args=(queue,)); process.start()
    assert same(queue.get(timeout=200), wanted); process.join(); print("same")
""",
        1,
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")
@pytest.mark.parametrize(("program", "times"), PROGRAMS.values(), ids=PROGRAMS)
def test_infer_in_other_processes(program: str, times: int, tmp_path) -> None:
    path = tmp_path / "program.py"
    path.write_text(START + program, encoding="utf-8")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["same"] * times


def test_threads_of_a_call_are_its_own() -> None:
    program = (
        START
        + """
import threading
from cpm_fast.ops import backend
torch.set_num_threads(2)
model, x = cpm_fast.load("compact-lsp", device="cpu"), torch.randn(2, 3, 256, 256)
seen = set()
def work(count):
    for _ in range(3): cpm_fast.Engine(model, threads=count)(x)
    seen.add(torch.get_num_threads())
threads = [threading.Thread(target=work, args=(count,)) for count in (1, 3, 1, 4)]
[each.start() for each in threads]; [each.join() for each in threads]
assert seen == {2} and torch.get_num_threads() == 2
for count in (0, -1, 2.0, True, 1025, 100000, 10**9):
    for call in (lambda: cpm_fast.Engine(model, threads=count), lambda: parts(count)):
        try: call()
        except ValueError as error: assert "threads must be a whole number from 1 to" in str(error), error
        else: raise AssertionError(count)
print("same")
"""
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.split() == ["same"], done.stderr[-2000:]
