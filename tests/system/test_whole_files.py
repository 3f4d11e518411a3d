"""Every file of the package takes its name when it is whole, or is one to which whole lines are added."""

import ast
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import cpm_fast
from cpm_fast.labeling.frames import ExtractedFrame, write_manifest
from cpm_fast.model.tensor_file import write_tensors
from cpm_fast.results.drawing import write_picture
from cpm_fast.results.result import Result, Results
from cpm_fast.skeleton import LSP
from cpm_fast.system.files import write_json
from cpm_fast.training.metrics_log import MetricsLog
from support.disk import Disk, Killed

PACKAGE = Path(cpm_fast.__file__).parent
# Functions that open a file for writing under its own name, with the reason.
OPENERS = {
    "system/files.py atomic_write": "the temporary file",
    "system/limits.py open_to_append": "those that call it stand below",
    "training/metrics_log.py write": "a line is added; a half one is dropped when the log is read",
    "inference/unfinished.py __init__": "lines are added; a half one is dropped when the journal is read",
    "inference/video_table.py start": "rows are added; half ones are cut off when the table is resumed",
    "inference/video_table.py resume": "rows are added; half ones are cut off when the table is resumed",
    "inference/tracking/subject_log.py add": "a line is added; a half one is dropped when the log is read",
    "data/video_frames.py extract": "a temporary folder, which no other process knows",
    "commands/options/loudness.py loudness": "the null device",
    "evaluation/curves.py score_curves": "memory",
    "training/pictures.py write_curves": "the temporary file",
    "results/formats/npz.py to_npz": "memory",
}
WRITERS = {"write_text", "write_bytes", "imwrite", "savefig", "savez", "savez_compressed", "tofile", "save_file"}


def opens_to_write(call: ast.Call) -> bool:
    """Whether a call opens a file in a mode that writes, or writes a whole file by itself."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in WRITERS:
        # Our own function of this name writes whole files.
        return isinstance(call.func, ast.Attribute)
    if name not in ("open", "fdopen"):
        return name == "open_to_append"
    texts = [each for each in (*call.args, *(word.value for word in call.keywords)) if isinstance(each, ast.Constant)]
    modes = [each.value for each in texts if isinstance(each.value, str) and len(each.value) <= 3]
    return any(set(mode) & set("wax+") for mode in modes)


def openers() -> dict[str, int]:
    """Return the functions that open files for writing, with a line of each."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if "kernels" in path.parts:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and opens_to_write(node):
                around = [each for each in functions if each.lineno <= node.lineno <= (each.end_lineno or 0)]
                name = max(around, key=lambda each: each.lineno).name if around else "module"
                found[f"{path.relative_to(PACKAGE).as_posix()} {name}"] = node.lineno
    return found


def test_files_are_opened_for_writing_by_few_functions() -> None:
    """All others write through `atomic_write`."""
    found = openers()
    assert {name: line for name, line in found.items() if name not in OPENERS} == {}
    assert [name for name in OPENERS if name not in found] == []


@pytest.mark.parametrize(
    ("code", "writes"),
    [
        ("open(path, 'wb')", True),
        ("path.open('a', encoding='utf-8')", True),
        ("path.open(mode='x')", True),
        ("os.fdopen(handle, 'r+b')", True),
        ("path.write_text(text)", True),
        ("cv2.imwrite(name, picture)", True),
        ("open(path, 'rb')", False),
        ("path.open(newline='', encoding='ascii')", False),
        ("write_text(path, text)", False),
    ],
)
def test_calls_that_write_are_known(code: str, writes: bool) -> None:
    call = ast.parse(code, mode="eval").body
    assert isinstance(call, ast.Call)
    assert opens_to_write(call) == writes


def results(value: float) -> Results:
    parts = np.full((1, len(LSP), 2), value, np.float32)
    return Results([Result(parts, np.full((1, len(LSP)), 0.5, np.float32), LSP, "a.png", (50, 60))])


def rewound(path: Path, value: int) -> None:
    if not path.exists():
        MetricsLog(path).write({"step": 1, "value": value})
        MetricsLog(path).write({"step": 2})
    MetricsLog(path).rewind(2 - value)


# Functions that write a file with one of two contents.
WAYS = {
    **{f"a{suffix}": lambda path, value: results(value).save(path) for suffix in (".json", ".csv", ".npz")},
    "coco.json": lambda path, value: results(value).save(path, form="coco"),
    "picture.png": lambda path, value: write_picture(np.full((9, 9, 3), value, np.uint8), path),
    "frames.csv": lambda path, value: write_manifest(path.parent, [ExtractedFrame("a", "b", value, 0.0, "uniform")]),
    "a.safetensors": lambda path, value: write_tensors(path, {"a": torch.full((300,), float(value))}, {}),
    "values.json": lambda path, value: write_json(path, {"value": value}),
    "metrics.jsonl": rewound,
}


@pytest.mark.skipif(sys.platform != "linux", reason="finds the file of a descriptor by /proc")
@pytest.mark.parametrize("name", WAYS)
def test_a_file_is_old_or_new_wherever_its_writer_dies(name: str, tmp_path: Path) -> None:
    contents = []
    for value in (0, 1):
        (tmp_path / str(value)).mkdir()
        WAYS[name](tmp_path / str(value) / name, value)
        contents.append((tmp_path / str(value) / name).read_bytes())
    old, _ = contents
    with Disk(tmp_path / "0").mounted() as disk:
        WAYS[name](tmp_path / "0" / name, 1)
    new = (tmp_path / "0" / name).read_bytes()
    assert old != new
    assert disk.count >= 3
    seen = set()
    for at in range(disk.count):
        folder = tmp_path / f"at{at}"
        folder.mkdir()
        (folder / name).write_bytes(old)
        with Disk(folder, at, kill=True).mounted(), pytest.raises(Killed):
            WAYS[name](folder / name, 1)
        seen.add((folder / name).read_bytes())
    assert seen <= {old, new}


def test_metrics_keep_every_line_that_was_written(tmp_path: Path) -> None:
    """A line is in the file when `write` returns, so that a kill right after it loses nothing."""
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for step in (1, 2, 3):
        log.write({"step": step})
        assert [json.loads(line)["step"] for line in log.path.read_text().splitlines()] == [*range(1, step + 1)]
    log.rewind(2)
    assert [row["step"] for row in log.rows()] == [1, 2]
