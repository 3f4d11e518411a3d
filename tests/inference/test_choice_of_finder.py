"""The choice of the finder: by the user, by the weights; and the configs of finders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cpm_fast
from cpm_fast.config import CENTER, NetworkConfig, preset
from cpm_fast.engine import Engine
from cpm_fast.inference.asking import Asked
from cpm_fast.inference.finders.finder import Finder
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton
from support.small_network import TINY_FINDER

WEIGHTS = "compact-drawn"
PICTURE = np.zeros((256, 320, 3), np.uint8)


@pytest.fixture
def finder_file(tmp_path: Path) -> Path:
    """Return weights of a finder that finds nobody: all its beliefs are 0."""
    model = CPM(replace(TINY_FINDER, find_score=0.5))
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    save_model(model, tmp_path / "finder.safetensors")
    return tmp_path / "finder.safetensors"


def test_weights_name_their_finder(tmp_path: Path, finder_file: Path) -> None:
    plain = cpm_fast.load(WEIGHTS)
    named = CPM(replace(plain.config, finder=str(finder_file)))
    named.load_state_dict(plain.state_dict())
    save_model(named.eval(), tmp_path / "named.safetensors")
    with pytest.warns(UserWarning, match="no subject found in image 0"):
        result = cpm_fast.infer(PICTURE, model=tmp_path / "named.safetensors")[0]
    assert len(result) == 0 and result.roi_source == "found"
    assert cpm_fast.find(PICTURE, model=named) == [[]]
    with pytest.warns(UserWarning, match="probably wrong"):
        whole = cpm_fast.infer(PICTURE, model=named, find=False)[0]
    assert whole.roi_source == "whole image"
    with pytest.warns(UserWarning, match="probably wrong"):
        boxed = cpm_fast.infer(PICTURE, model=named, boxes=[[0, 0, 100, 100]])[0]
    assert boxed.roi_source == "boxes" and len(boxed) == 1


def test_a_finder_is_given_as_a_file_or_a_network(finder_file: Path) -> None:
    for finder in (finder_file, str(finder_file), cpm_fast.load(finder_file)):
        with pytest.warns(UserWarning, match="no subject found"):
            assert len(cpm_fast.infer(PICTURE, model=WEIGHTS, find=finder)[0]) == 0
    # If no belief is a candidate's, no score finds a subject, and the whole picture is the region.
    found = cpm_fast.find(PICTURE, model=WEIGHTS, find=finder_file, min_find_score=-0.5, max_subjects=3)[0]
    assert found == [Roi.whole_image(*PICTURE.shape[:2])]
    finder = Asked(cpm_fast.load(finder_file)).of(cpm_fast.load(WEIGHTS))
    assert isinstance(finder, Finder) and finder.search.min_find_score == 0.5


def judged_by(judge: str, network: CPM, precision: str = "auto") -> Engine | None:
    finder = Asked(CPM(replace(TINY_FINDER, judge=judge)).eval()).of(network, precision)
    assert isinstance(finder, Finder)
    return finder.judge


def test_a_smaller_network_with_the_same_parts_judges(tmp_path: Path) -> None:
    base = cpm_fast.load("base-lsp")
    judge = judged_by("compact-lsp", base)
    assert judge is not None and judge.config == cpm_fast.load("compact-lsp").config
    # The bundled finder of people names it; the engines of all three are kept from call to call.
    found = Asked().of(base)
    assert isinstance(found, Finder) and found.judge is judge
    for same_size_or_smaller in ("compact-lsp", "wide-lsp", "base-lsp"):
        assert judged_by(same_size_or_smaller, cpm_fast.load("compact-lsp")) is None
    assert judged_by("", base) is None
    animal = CPM(preset("base", Skeleton("animal", ("nose", "tail"))))
    assert judged_by("compact-lsp", animal) is None
    save_model(cpm_fast.load("compact-lsp"), tmp_path / "own.safetensors")
    assert judged_by(str(tmp_path / "own.safetensors"), base) is not None


def test_finder_and_judge_have_the_precision_of_the_call() -> None:
    found = Asked().of(cpm_fast.load("base-lsp"), "bf16")
    assert isinstance(found, Finder) and found.judge is not None
    assert found.engine.precision == found.judge.precision == "bf16"


def test_a_judge_that_is_none() -> None:
    base = cpm_fast.load("base-lsp")
    with pytest.raises(FileNotFoundError, match="no-such-judge: neither a file nor"):
        judged_by("no-such-judge", base)
    with pytest.raises(ValueError, match="judge must be a network that locates parts, got the finder finder-drawn"):
        judged_by("finder-drawn", base)


def test_weights_with_a_finder_that_is_not_there(tmp_path: Path) -> None:
    plain = cpm_fast.load(WEIGHTS)
    named = CPM(replace(plain.config, finder="no-such-finder"))
    with pytest.raises(FileNotFoundError, match="no-such-finder: neither a file nor"):
        cpm_fast.infer(PICTURE, model=named)


def test_rejects(finder_file: Path) -> None:
    with pytest.raises(ValueError, match="find must be a finder, got compact-drawn, which locates the parts"):
        cpm_fast.infer(PICTURE, model=WEIGHTS, find=WEIGHTS)
    with pytest.raises(ValueError, match=r"model must be a network that locates parts, got a finder; give it as find="):
        cpm_fast.infer(PICTURE, model=finder_file)
    with pytest.raises(ValueError, match="boxes or rois say where they are"):
        cpm_fast.infer(PICTURE, model=WEIGHTS, find=finder_file, boxes=[[0, 0, 9, 9]])
    with pytest.raises(ValueError, match='find must be "auto", "search", a finder or a function, got False'):
        cpm_fast.find(PICTURE, model=WEIGHTS, find=False)
    with pytest.raises(ValueError, match='find must be "auto", "search", False, a finder or a function, got True'):
        cpm_fast.infer(PICTURE, model=WEIGHTS, find=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"skeleton": cpm_fast.load(WEIGHTS).skeleton}, "skeleton must be of the part center with kind 'find'"),
        ({"background": True}, "background must be false with kind 'find'"),
        ({"kind": "guess"}, "kind must be 'pose' or 'find'"),
        ({"kind": "pose", "side_map": False}, "side_map must be true with kind 'pose'"),
        ({"side_map": 1}, "side_map must be True or False"),
        ({"find_score": float("nan")}, "find_score must be a finite number"),
        ({"find_levels": 0}, "find_levels must be a whole number from 1 to 3, got 0"),
        ({"find_levels": 4}, "find_levels must be a whole number from 1 to 3, got 4"),
        ({"find_levels": 1.5}, "find_levels must be a whole number from 1 to 3"),
        ({"find_sizes": ()}, r"find_sizes must be 1 to 3 falling whole numbers from 32 to 2048, got \(\)"),
        ({"find_sizes": (240, 480)}, r"find_sizes must be 1 to 3 falling whole numbers .* got \(240, 480\)"),
        ({"find_sizes": 480}, "find_sizes must be a sequence, got 480"),
        ({"finder": 3}, "finder must be a name or file of weights"),
        ({"judge": 3}, "judge must be a name or file of weights"),
    ],
)
def test_configs_that_are_no_finder(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY_FINDER, **changes)


def test_files_of_pose_networks_say_nothing_of_finders() -> None:
    fields = {"kind", "side_map", "finder", "judge", "find_score", "find_levels", "find_sizes"}
    assert not fields & set(NetworkConfig().to_dict())
    assert "find_levels" not in TINY_FINDER.to_dict()
    assert NetworkConfig.from_dict(replace(TINY_FINDER, find_levels=2).to_dict()).find_levels == 2
    assert NetworkConfig.from_dict(replace(TINY_FINDER, judge="compact-lsp").to_dict()).judge == "compact-lsp"
    with pytest.raises(ValueError, match="judge must be a name .*, and empty with kind 'pose', got 'compact-lsp'"):
        NetworkConfig(judge="compact-lsp")
    assert NetworkConfig.from_dict(replace(TINY_FINDER, find_sizes=(360, 180)).to_dict()).find_sizes == (360, 180)
    assert "side_map" not in TINY_FINDER.to_dict() and preset("person").to_dict()["side_map"] is False
    assert replace(TINY_FINDER, find_score=0.4).to_dict()["find_score"] == 0.4 and TINY_FINDER.skeleton == CENTER
