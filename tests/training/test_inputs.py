"""A run resumes only with the files with which it was started, and no other process works in its folder."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from cpm_fast.data.formats.table import PartsTable
from cpm_fast.system.locks import FolderInUse, folder_lock
from cpm_fast.training.loop import train
from support.runs import CONFIGS, QUIET

HALF = replace(QUIET, stop_after=2)


@pytest.fixture
def table(tmp_path):
    random = np.random.default_rng(0)
    folder = tmp_path / "data"
    folder.mkdir()
    columns = [f"{part}_{axis}" for part in CONFIGS["modern"][0].skeleton.names for axis in "xy"]
    lines = [",".join(["image", *columns])]
    for number in range(8):
        cv2.imwrite(str(folder / f"{number}.png"), random.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        lines.append(",".join([f"{number}.png", *map(str, random.integers(5, 60, len(columns)))]))
    (folder / "own.csv").write_text("\n".join(lines) + "\n")
    return folder / "own.csv"


def run(table, folder, **more):
    train(*CONFIGS["modern"], [PartsTable(table)], [], folder, **more)


def test_a_replaced_picture_is_refused(tmp_path, table):
    run(table, tmp_path / "run", options=HALF)
    picture = table.parent / "3.png"
    before = picture.read_bytes()
    cv2.imwrite(str(picture), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match=r"inputs\.json: 1 files have changed since the run was started: 0:3\.png"):
        run(table, tmp_path / "run", resume=True, options=QUIET)
    picture.write_bytes(before)
    table.write_text(table.read_text().replace("\n0.png,", "\n0.png, "))
    with pytest.raises(ValueError, match=r"1 files have changed since the run was started: 0:own\.csv"):
        run(table, tmp_path / "run", resume=True, options=QUIET)


def test_a_deleted_picture_and_another_place_are_fine(tmp_path, table):
    run(table, tmp_path / "run", options=HALF)
    (table.parent / "3.png").unlink()
    moved = table.parent.rename(tmp_path / "elsewhere")
    run(moved / "own.csv", tmp_path / "run", resume=True, options=QUIET)
    assert (tmp_path / "run" / "final.safetensors").exists()


def test_a_folder_in_use_is_refused_and_left_as_it_is(tmp_path, table):
    run(table, tmp_path / "run", options=HALF)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with folder_lock(tmp_path / "run"), pytest.raises(FolderInUse, match="is in use by this process"):
        run(table, tmp_path / "run", resume=True, options=QUIET)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    with pytest.raises(FileNotFoundError):
        run(table, tmp_path / "new", start=tmp_path / "none.safetensors", options=QUIET)
    assert not (tmp_path / "new").exists()
