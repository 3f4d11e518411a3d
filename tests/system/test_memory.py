"""glibc keeps freed memory during training, and returns it again afterwards."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cpm_fast.system import memory
from cpm_fast.system.memory import freed_memory_kept
from cpm_fast.training.loop import train
from cpm_fast.training.options import TrainingError
from support.annotated import Figures
from support.runs import CONFIGS, DATA, QUIET

# More than glibc ever takes from its heap if it may map.
LARGE = 1 << 26


FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class Info(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]


def mapped_when_large() -> bool:
    """Return whether a large block is mapped separately, so that the system gets it back as soon as it is free."""
    library = ctypes.CDLL(None)
    if not sys.platform.startswith("linux") or not hasattr(library, "mallinfo2"):
        pytest.skip("needs glibc 2.33")
    library.mallinfo2.restype = Info
    before = library.mallinfo2().hblks
    block = torch.empty(LARGE, dtype=torch.uint8)
    return library.mallinfo2().hblks - before >= 1 and len(block) == LARGE


def within_the_block_only() -> None:
    assert mapped_when_large()
    with freed_memory_kept():
        assert not mapped_when_large()
    assert mapped_when_large()


def test_within_the_block_only():
    """In a fresh process: once an allocation failed, glibc may serve a thread from an arena that maps large blocks."""
    tests = Path(__file__).parents[1]
    program = (
        f"import sys; sys.path[:0] = [{str(tests)!r}, {str(tests / 'system')!r}]; "
        "import test_memory; test_memory.within_the_block_only()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.parametrize("ends", ["well", "with an error"])
def test_after_a_training(tmp_path, monkeypatch, ends):
    network, config = CONFIGS["modern"]
    seen = []
    real = memory._set
    monkeypatch.setattr(memory, "_set", lambda *values: seen.append(values) or real(*values))
    if ends == "well":
        train(network, config.changed({"epochs": 0.5}), DATA, [], tmp_path / "run", options=QUIET)
    else:
        torn = Figures(6, broken=range(6))
        with pytest.raises(TrainingError):
            train(network, config, [torn], [], tmp_path / "run", options=QUIET)
    assert seen[0] == (0, -1), "kept while it trains"
    # Not by mapped_when_large: earlier trainings of this process may have left a block that is large enough.
    assert seen[-1] == (memory.MMAP_MAX, memory.TRIM_THRESHOLD_BYTES), "and given back in the end"
