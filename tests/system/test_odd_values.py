"""Every value of JSON files that users may write, replaced by odd ones: it is read, or told in short by name."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.checks.hostile import COCO, DETECTIONS, LONGEST_MESSAGE, PEOPLE
from cpm_fast.commands.train import _read_config, _recipe
from cpm_fast.data.formats.boxes import BoxFile
from cpm_fast.data.formats.coco import CocoKeypoints
from cpm_fast.data.formats.mpii import MpiiJson
from cpm_fast.evaluation.predictions import read_predictions
from cpm_fast.recipes import RECIPES
from cpm_fast.results.formats.coco import CocoIds
from cpm_fast.skeleton import LSP
from cpm_fast.training.inputs import check_inputs
from support.small_network import TINY

ODD = ({}, {"": 0}, [], [[]], [{}], "", "a" * 3000, None, True, -1, 10**400, 0.5, float("nan"))
PARTS = {"image_id": 1, "keypoints": [1, 2, 0.5] * 14, "score": 1.0}
RECIPE = asdict(RECIPES["long"])
RUN = {"network": TINY.to_dict(), "training": RECIPE, "data": ["a"], "hold_out": [1], "options": {}}
FILES: dict[str, tuple[Any, Callable[[Path], object]]] = {
    "recipe": ({"recipe": "long", "epochs": 3, "learning_rate": 0.1}, lambda path: _recipe(str(path))),
    "whole recipe": (RECIPE, lambda path: _recipe(str(path))),
    "config": (RUN, lambda path: _read_config(path.parent)),
    "inputs": ({"a.png": "abc"}, lambda path: check_inputs(path, {"a.png": "abc"})),
    "detections": (DETECTIONS, BoxFile.read),
    "boxes of COCO": (COCO, BoxFile.read),
    "COCO": (COCO, CocoKeypoints),
    "ids of COCO": (COCO, CocoIds.read),
    "MPII": (PEOPLE, MpiiJson),
    "predictions": ([PARTS], lambda path: read_predictions(path, LSP, 1)),
}


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value within, at most three of a list."""
    yield before
    if isinstance(value, dict):
        within = list(value)
    else:
        within = list(range(len(value)))[:3] if isinstance(value, (list, tuple)) else []
    for key in within:
        yield from places(value[key], (*before, key))


def replaced(value: Any, place: tuple[Any, ...], odd: Any) -> Any:
    """Return a copy with another value at a place."""
    whole = [json.loads(json.dumps(value))]
    inner: Any = whole
    way = (0, *place)
    for key in way[:-1]:
        inner = inner[key]
    inner[way[-1]] = copy.deepcopy(odd)
    return whole[0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("valid", "read"), FILES.values(), ids=FILES)
def test_odd_values(tmp_path: Path, valid: Any, read: Callable[[Path], object]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(valid))
    read(path)
    refused = 0
    for place in places(valid):
        for odd in ODD:
            path.write_text(json.dumps(replaced(valid, place, odd)))
            try:
                read(path)
            except (ValueError, OSError) as error:
                refused += 1
                assert str(path) in str(error) and len(str(error)) < LONGEST_MESSAGE, (place, odd, str(error)[:300])
            except Exception as error:
                pytest.fail(f"{place}: {odd!r:.60} ends in {error!r:.200}")
    assert refused
