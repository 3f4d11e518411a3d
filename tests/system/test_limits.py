"""No reader of whole files waits for a pipe, and none reads a device."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cpm_fast.data.files.csv_file import read_csv_text
from cpm_fast.data.files.json_file import read_json
from cpm_fast.evaluation import read_predictions
from cpm_fast.model.files import load_model
from cpm_fast.ops.plans.measured import read_plan
from cpm_fast.results.formats.coco import CocoIds
from cpm_fast.results.result import Results
from cpm_fast.skeleton import LSP
from cpm_fast.system.limits import check_file
from cpm_fast.weights.importers.caffe import read_caffemodel
from cpm_fast.weights.importers.state_dict import read_state_dict

READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "results": ("x.json", Results.load),
    "a table of results": ("x.csv", Results.load),
    "arrays of results": ("x.npz", Results.load),
    "ids of COCO": ("x.json", CocoIds.read),
    "predictions": ("x.json", lambda path: read_predictions(path, LSP, 2)),
    "a plan": ("x.json", read_plan),
    "JSON": ("x.json", read_json),
    "CSV": ("x.csv", read_csv_text),
    "weights": ("x.safetensors", load_model),
    "a checkpoint": ("x.pth", read_state_dict),
    "Caffe's weights": ("x.caffemodel", read_caffemodel),
}


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Raise in the test if it waits."""

    def waits(*_: object) -> None:
        raise AssertionError("waits")

    before = signal.signal(signal.SIGALRM, waits)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize(("name", "read"), READERS.values(), ids=READERS)
def test_a_pipe_is_refused_by_name(tmp_path: Path, name: str, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises((ValueError, OSError), match=name):
        read(tmp_path / name)


def test_sizes_have_a_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(11))
    check_file(tmp_path / "a", 11)
    with pytest.raises(ValueError, match=r"a: must have at most 10 bytes, got 11"):
        check_file(tmp_path / "a", 10)
    with pytest.raises(FileNotFoundError):
        check_file(tmp_path, 10)
