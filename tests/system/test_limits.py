"""No reader of whole files waits for a pipe, and none reads a device; nothing is written into one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from cpm_fast.commands.train import _recipe
from cpm_fast.data.corrected import read_corrections
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.files.csv_file import read_csv_text
from cpm_fast.data.files.json_file import read_json
from cpm_fast.evaluation import read_predictions
from cpm_fast.inference.tracking.subject_log import SubjectLog
from cpm_fast.inference.unfinished import Journal, Unfinished
from cpm_fast.inference.video_table import VideoTable
from cpm_fast.labeling.frames import read_manifest
from cpm_fast.labeling.naming import find_skeleton
from cpm_fast.labeling.predictions import FolderPredictions
from cpm_fast.labeling.store import listed
from cpm_fast.labeling.table import LabelTable
from cpm_fast.model.files import load_model
from cpm_fast.ops.plans.measured import read_plan
from cpm_fast.recipes import TrainingConfig
from cpm_fast.results.formats.coco import CocoIds
from cpm_fast.results.result import Results
from cpm_fast.skeleton import LSP, Skeleton
from cpm_fast.system.limits import check_file, file_exists, open_to_append
from cpm_fast.training.folder import RunFolder
from cpm_fast.training.inputs import check_inputs
from cpm_fast.training.metrics_log import MetricsLog
from cpm_fast.weights.importers.caffe import read_caffemodel
from cpm_fast.weights.importers.state_dict import read_state_dict
from support.small_network import TINY

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
    "a skeleton": ("x.toml", Skeleton.from_toml),
    "a recipe": ("x.json", lambda path: _recipe(str(path))),
    "corrections": ("x.json", lambda path: read_corrections(path, DrawnFigures(1))),
    "a table of labels": ("labels.csv", lambda path: LabelTable(path, LSP)),
    "a list of pictures": ("only.csv", lambda path: listed(path, ["a.png"])),
    "a folder's predictions": ("predictions-1.csv", lambda path: FolderPredictions(path.parent, LSP)),
    "a folder's skeleton": ("skeleton.toml", lambda path: find_skeleton(path.parent, None, path.parent / "none")),
    "parts of a table": ("labels.csv", lambda path: find_skeleton(path.parent, None, path)),
    "a list of frames": ("frames.csv", lambda path: read_manifest(path.parent)),
    "settings": (".unfinished/settings.json", lambda path: Unfinished(path.parent.parent, {}).check(True)),
    "a journal": (".unfinished/0-0.jsonl", lambda path: list(Unfinished(path.parent.parent, {}).records())),
    "a run's config": ("config.json", lambda path: RunFolder(path.parent).check(True, TINY, TrainingConfig(), {})),
    "a run's inputs": ("inputs.json", lambda path: check_inputs(path, {})),
    "a run's metrics": ("metrics.jsonl", lambda path: list(MetricsLog(path).rows())),
    "a video's subjects": ("subjects.jsonl", lambda path: SubjectLog(path.parent, Mock()).resume()),
    "a video's table": ("x.csv", lambda path: VideoTable(path, LSP, 1, None, "x.mp4", 0.0, 1.0).resume()),
}
# Some readers take some of these for a file that ends early, or for pictures without labels.
DAMAGED = {
    "no UTF-8": b"image,a_x,a_y\n" + b"\xe9" * 9000,
    "a cell too long": b"image,a_x,a_y\n" + b"a" * 200_000 + b",1,2\n",
    "a column too long": b"image," + b"a" * 200_000 + b"_x\n",
    "many columns": b"image," + b"abc," * 9000 + b"a\n",
    "a quote without end": b'image,"a_x\n' + b"1,2\n" * 9000,
    "zeros": bytes(9000),
    "JSON of other things": b'{"' + b"a" * 9000 + b'": 1}\n',
    "JSON with a long text": b'["' + b"a" * 9000 + b'"]\n',
    "a deep list": b"[" * 100_000 + b"\n",
    "TOML of other things": b"a" * 9000 + b" = 1\n",
}
WRITERS: dict[str, Callable[[Path], object]] = {
    "a file": open_to_append,
    "a journal": Journal,
    "metrics": lambda path: MetricsLog(path).write({"step": 1}),
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
    (tmp_path / name).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises((ValueError, OSError), match=name):
        read(tmp_path / name)


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize(("name", "read"), READERS.values(), ids=READERS)
def test_damage_is_told_in_short_by_name(
    tmp_path: Path, name: str, read: Callable[[Path], object], content: bytes
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    try:
        read(tmp_path / name)
    except (ValueError, OSError) as error:
        assert str(tmp_path) in str(error) and len(str(error)) < 2000, str(error)[:300]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_nothing_is_added_to_a_pipe(tmp_path: Path, write: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"pipe: must be a regular file"):
        write(tmp_path / "pipe")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX")
@pytest.mark.usefixtures("no_waiting")
def test_a_pipe_in_place_of_the_folder_of_unfinished_work(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".unfinished")
    with pytest.raises(FileExistsError, match=r"\.unfinished"):
        Unfinished(tmp_path, {}).begin()
    Unfinished(tmp_path, {}).end()
    assert (tmp_path / ".unfinished").is_fifo()


def test_a_file_is_there_or_not(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    assert [file_exists(tmp_path / name) for name in ("a", "b", ".")] == [True, False, False]
    with open_to_append(tmp_path / "a") as file:
        file.write(b"b")
    assert (tmp_path / "a").read_bytes() == b"ab"


def test_sizes_have_a_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(11))
    check_file(tmp_path / "a", 11)
    with pytest.raises(ValueError, match=r"a: must have at most 10 bytes, got 11"):
        check_file(tmp_path / "a", 10)
    with pytest.raises(FileNotFoundError):
        check_file(tmp_path, 10)
