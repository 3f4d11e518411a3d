"""The tutorial of docs/labeling.md: from a video to a corrected second round, its commands in their order."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from cpm_fast.cli import FINE, main
from cpm_fast.commands import train as command
from cpm_fast.config import PRESETS
from cpm_fast.labeling.store import Store
from cpm_fast.labeling.table import LabeledSubject
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.skeleton import LSP
from support import clips
from support.pages import commands
from support.stand_ins import TINY

PAGE = "docs/labeling.md"


def by_hand(words: list[str], truth: np.ndarray) -> int:
    """Act as a person in the page that a command opens: label its pictures, at most ten, and return their number."""
    only = Path(words[words.index("--only") + 1]) if "--only" in words else None
    store = Store(Path("walkers/frames"), LSP, only=only)
    free = [number for number, name in enumerate(store.names) if store.table.state(name) is None][:10]
    for number in free:
        points = truth[int(store.names[number][-10:-4])]
        subject = LabeledSubject(tuple((float(x), float(y), 2) for x, y in points))
        store.save(number, store.picture(number)["revision"], [subject], "corrected" if only else "labeled")
    store.close()
    return len(free)


@pytest.mark.slow
def test_the_tutorial(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PRESETS, "compact", TINY)
    torch.manual_seed(0)
    save_model(CPM(TINY), tmp_path / "tiny.safetensors")
    tiny = tmp_path / "tiny.safetensors"
    monkeypatch.setattr(command, "weights_file", lambda name: Path(name) if Path(name).is_file() else tiny)
    truth = clips.write_walk(tmp_path / "walk.mp4", 4.0)
    labeled = []
    for line in commands(PAGE):
        program, *words = shlex.split(line.replace("--epochs 20", "--epochs 1"))
        if program != "cpm-fast" or words[:2] == ["data", "convert"]:
            continue
        if words[0] == "label":
            labeled.append(by_hand(words, truth))
        else:
            assert main(words) == FINE, (line, capsys.readouterr().err)
    assert labeled[0] == 10 and labeled[1] >= 1
    shown = capsys.readouterr().out
    assert f"{sum(labeled)} labeled" in shown and "train-2" in shown
    assert (tmp_path / "walkers/runs/train-2/final.safetensors").is_file()
    assert (tmp_path / "walkers/runs/suggest-1/suggestions.png").is_file()
