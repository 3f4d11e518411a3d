"""Output folders and the files in them when a write, sync, rename or removal fails, or the process dies there."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cpm_fast.cli import BAD_RESULT, BAD_USE, FINE, main
from cpm_fast.config import compact
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.system.files import TEMPORARY_SUFFIX, atomic_write
from cpm_fast.system.locks import folder_lock
from support.disk import Disk, Killed
from support.machine import LONG, run_machine

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the file of a descriptor by /proc")
# A notebook and a table of the user are in the output folder and stay unchanged.
MINE = {"notes.txt": "mine", "more/labels.csv": "image,x\n"}


@pytest.fixture(scope="module", autouse=True)
def networks(tmp_path_factory):
    """Write the files of two small networks; use one thread."""
    folder = tmp_path_factory.mktemp("networks")
    for seed in range(2):
        torch.manual_seed(seed)
        tiny = replace(compact(), input_size=(32, 32), stages=1)
        save_model(CPM(tiny), folder / f"{seed}.safetensors")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield folder
    torch.set_num_threads(threads)


def write_picture(path: Path, seed: int) -> None:
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    # Two writes within a tick of the file system's clock have the same time; a user is slower.
    os.utime(path, ns=(seed * 10**9, seed * 10**9))


def infer(pictures: Path, output: Path, network: Path, *more: str) -> int:
    return main(["infer", str(pictures), "--model", str(network), "--no-pictures", "-o", str(output), *more])


def found(output: Path) -> object:
    """Return the table without its times; None if there is none."""
    if not (output / "results.json").exists():
        return None
    images = json.loads((output / "results.json").read_text())["images"]
    return [(Path(image["name"]).name, image["subjects"]) for image in images]


def leftovers(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.name.endswith(TEMPORARY_SUFFIX)]


def places(events: int) -> list[tuple[int, bool]]:
    """Return events for failures or deaths; the nightly run does both."""
    return [(at, kill) for at in range(events) for kill in (False, True) if LONG or kill == (at % 2 == 1)]


def test_the_disk_of_these_tests_fails_where_it_is_told(tmp_path):
    def write() -> None:
        with atomic_write(tmp_path / "a") as file:
            file.write(b"12")
            file.write(b"345678")

    with Disk(tmp_path).mounted() as disk:
        write()
    # The events: two writes, a sync, a rename, the folder's sync.
    assert disk.count == 5
    for at in range(5):
        (tmp_path / "a").write_bytes(b"old")
        with Disk(tmp_path, at, kill=True).mounted() as disk, pytest.raises(Killed):
            write()
        assert (tmp_path / "a").read_bytes() == (b"old" if at < 4 else b"12345678")
        assert len(leftovers(tmp_path)) == (1 if at < 4 else 0)
        for path in leftovers(tmp_path):
            os.unlink(path)


def test_infer_at_every_write(tmp_path, networks, capsys):
    """At every event of `infer` an error names the file, no file is incomplete, and --resume gives the same results."""
    (tmp_path / "in").mkdir()
    write_picture(tmp_path / "in" / "0.png", 0)
    with Disk(tmp_path).mounted() as disk:
        assert infer(tmp_path / "in", tmp_path / "true", networks / "0.safetensors") == FINE
    wanted, events = found(tmp_path / "true"), disk.count
    assert events > 15
    for at, kill in places(events):
        out = tmp_path / f"out{at}{kill}"
        capsys.readouterr()
        with Disk(tmp_path, at, kill).mounted() as disk:
            try:
                code = infer(tmp_path / "in", out, networks / "0.safetensors")
            except Killed:
                code = None
        assert (code is None) == kill
        told = capsys.readouterr().err
        if code not in (None, FINE):
            file = Path(str(disk.failed)).name.removeprefix(".").split(".")[0]
            assert "No space left" in told and file in told, (at, disk.failed, told)
        assert "Traceback" not in told and found(out) in (None, wanted), at
        assert infer(tmp_path / "in", out, networks / "0.safetensors", "--resume") == FINE, (at, disk.failed)
        assert found(out) == wanted and not leftovers(out) and not (out / ".unfinished").exists(), (at, disk.failed)


class OutputFolderMachine(RuleBasedStateMachine):
    """Runs into one output folder: killed and failing anywhere, resumed, with other weights, pictures and processes."""

    networks: Path
    place: Path
    truth: dict[tuple[tuple[tuple[str, int], ...], int], object]

    @initialize()
    def begin(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        self.pictures, self.out = self.place / "in", self.place / "out"
        self.pictures.mkdir(parents=True)
        self.seeds: dict[str, int] = {}
        self.last: object = None
        for name in ("a.png", "b.png"):
            self.add(name)
        for name, text in MINE.items():
            (self.out / name).parent.mkdir(parents=True, exist_ok=True)
            (self.out / name).write_text(text)

    def add(self, name: str) -> None:
        self.seeds[name] = 1 + max(self.seeds.values(), default=0)
        write_picture(self.pictures / name, self.seeds[name])

    def wanted(self, network: int) -> object:
        """Return the results of an undisturbed run."""
        key = tuple(sorted(self.seeds.items())), network
        if key not in self.truth:
            true = self.place / "true"
            shutil.rmtree(true, ignore_errors=True)
            assert infer(self.pictures, true, self.networks / f"{network}.safetensors") == FINE
            self.truth[key] = found(true)
        return self.truth[key]

    @rule(network=st.integers(0, 1), resume=st.booleans(), at=st.none() | st.integers(0, 40), kill=st.booleans())
    def run(self, network: int, resume: bool, at: int | None, kill: bool, only: str = "") -> None:
        wanted, before = self.wanted(network), found(self.out)
        unfinished = (self.out / ".unfinished" / "settings.json").exists()
        more = ["--resume"] if resume else []
        with Disk(self.out, at, kill, only).mounted() as disk:
            try:
                code = infer(self.pictures, self.out, self.networks / f"{network}.safetensors", *more)
            except Killed:
                code = None
        if code == FINE and not disk.failed:
            nothing_to_resume = resume and before is not None and not unfinished
            assert found(self.out) == (before if nothing_to_resume else wanted)
            assert not leftovers(self.out) and not (self.out / ".unfinished").exists()
        elif code == BAD_USE:
            assert found(self.out) == before
        else:
            assert disk.failed or code == BAD_RESULT
            assert found(self.out) in (before, wanted)

    @rule(network=st.integers(0, 1), at=st.integers(0, 1), name=st.sampled_from(["a.png", "b.png"]))
    def change_a_picture_of_an_unfinished_run(self, network: int, at: int, name: str) -> None:
        self.run(network, False, at, True, only=".jsonl")
        self.add(name)
        self.run(network, True, None, False)

    @rule(name=st.sampled_from(["a.png", "c.png"]))
    def change_a_picture(self, name: str) -> None:
        self.add(name)

    @rule(network=st.integers(0, 1))
    def a_second_process(self, network: int) -> None:
        before = found(self.out)
        with folder_lock(self.out):
            assert infer(self.pictures, self.out, self.networks / f"{network}.safetensors", "--resume") != FINE
        assert found(self.out) == before

    @invariant()
    def what_is_mine_stays(self) -> None:
        if hasattr(self, "out"):
            for name, text in MINE.items():
                assert (self.out / name).read_text() == text

    def teardown(self) -> None:
        """Check that a run is right from any state, after the unfinished one is removed."""
        if hasattr(self, "out"):
            shutil.rmtree(self.out / ".unfinished", ignore_errors=True)
            assert infer(self.pictures, self.out, self.networks / "0.safetensors", "--overwrite") == FINE
            assert found(self.out) == self.wanted(0) and not leftovers(self.out)


def test_runs_into_one_folder(tmp_path, networks):
    class Machine(OutputFolderMachine):
        pass

    Machine.networks, Machine.place, Machine.truth = networks, tmp_path, {}
    run_machine(Machine)
