"""Python's and NumPy's numbers count as numbers; bools, texts, and arrays or tensors of no axes never do."""

import dataclasses
import json
from functools import partial

import numpy as np
import pytest
import torch

import cpm_fast
from cpm_fast.config import Conv, NetworkConfig
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.sample import hold_out
from cpm_fast.evaluation.rule import Rule
from cpm_fast.inference.asking import Asked
from cpm_fast.inference.finders.search import Search
from cpm_fast.inference.settings import Settings
from cpm_fast.inference.smoothing import OneEuro
from cpm_fast.media.sources import list_images
from cpm_fast.metrics import pck
from cpm_fast.ops.gaussian_targets import gaussian_targets
from cpm_fast.ops.many_peaks import many_peaks
from cpm_fast.recipes import AugmentationConfig, TrainingConfig
from cpm_fast.roi import Roi
from cpm_fast.system.numbers import make_plain, number_array, plain
from cpm_fast.training.options import RunOptions

CONFIGS = (
    Conv(3, 16),
    NetworkConfig(),
    AugmentationConfig(),
    TrainingConfig(stage_factors=(1.0, 2.0)),
    RunOptions(workers=1, stop_after=4),
    Settings(threads=1),
    Search(max_subjects=3),
    Asked(max_subjects=3, min_find_score=0.5, find="search"),
    OneEuro(),
    Rule(threshold=0.5),
    Roi((8.0, 9.0), 64.0),
)
# Fields whose whole numbers are not ints of any size.
NUMPY_INTS, NUMPY_FLOATS = (np.int64, np.uint32), (np.float64, np.float32, np.float16)
NO_NUMBERS = (True, np.True_, "3", None, torch.tensor(3), torch.tensor(0.5), np.array(3), 3j)


def number_fields(config):
    """The fields of a config that hold one number."""
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return [(name, value) for name, value in values.items() if type(value) in (int, float)]


CASES = [
    pytest.param(config, name, value, id=f"{type(config).__name__}.{name}")
    for config in CONFIGS
    for name, value in number_fields(config)
]


@pytest.mark.parametrize(("config", "name", "value"), CASES)
def test_numpy_numbers_become_numbers_of_python(config, name, value):
    for kind in NUMPY_INTS if isinstance(value, int) else NUMPY_FLOATS:
        changed = getattr(dataclasses.replace(config, **{name: kind(value)}), name)
        assert type(changed) is type(value)
        assert changed == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(("config", "name", "value"), CASES)
def test_other_values_are_refused_by_the_field_s_name(config, name, value):
    optional = " | None" in str(type(config).__dataclass_fields__[name].type)
    for wrong in NO_NUMBERS:
        if wrong is None and optional:
            continue
        with pytest.raises((ValueError, TypeError), match=name):
            dataclasses.replace(config, **{name: wrong})


FLAGS = [
    pytest.param(config, field.name, id=f"{type(config).__name__}.{field.name}")
    for config in CONFIGS
    for field in dataclasses.fields(config)
    if isinstance(field.default, bool)
]


@pytest.mark.parametrize(("config", "name"), FLAGS)
def test_flags_are_bools(config, name):
    before = getattr(config, name)
    assert getattr(dataclasses.replace(config, **{name: np.bool_(before)}), name) is before
    for wrong in ("no", "", 0, 1, None, (), [False], torch.tensor(False), np.array(False)):
        with pytest.raises(ValueError, match=f"{name} must be True or False, got"):
            dataclasses.replace(config, **{name: wrong})


@pytest.mark.parametrize("kind", [NetworkConfig, TrainingConfig, AugmentationConfig])
def test_fields_of_other_kinds_are_refused_by_name(kind):
    for field in dataclasses.fields(kind):
        for wrong in (object(), b"3", {"a": 3}):
            with pytest.raises(ValueError, match=f"^{field.name}"):
                kind(**{field.name: wrong})


@pytest.mark.parametrize("name", ["stages", "kernel", "channels", "batch", "seed", "jpeg_quality", "threads"])
def test_floats_are_no_whole_numbers(name):
    config = next(each for each in CONFIGS if hasattr(each, name))
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(config, **{name: np.float64(3.0)})


def test_sequences_become_tuples():
    roi = Roi(np.array([8, 9.5], np.float32), np.float32(64))
    assert roi == Roi((8.0, 9.5), 64.0)
    assert hash(roi) == hash(Roi((8.0, 9.5), 64.0))
    assert Settings(np.array([1.0, 0.5])).pyramid == (1.0, 0.5)
    config = NetworkConfig(input_size=[np.int32(64), 64], pixel_mean=np.full(3, 128.0), margin=np.float32(1.25))
    assert config == NetworkConfig(input_size=(64, 64))
    assert json.dumps(config.to_dict()) == json.dumps(NetworkConfig(input_size=(64, 64)).to_dict())


@pytest.mark.parametrize("pyramid", ["12", (True,), ("1",), torch.tensor([1.0]), [[1.0]], np.ones((1, 1)), 1.0])
def test_a_pyramid_of_other_things_is_refused(pyramid):
    with pytest.raises(TypeError, match="pyramid must be a sequence of numbers"):
        Settings(pyramid)


@pytest.mark.parametrize("center", [(1.0,), torch.tensor([1.0, 2.0]), "12", 3.0, (True, 1.0), (float("nan"), 1.0)])
def test_a_center_of_other_things_is_refused(center):
    with pytest.raises(ValueError, match="center must be two finite numbers"):
        Roi(center, 64)


@pytest.mark.parametrize(
    "values",
    [["1", "2"], [True], [[1, 2], [3]], [None, 1], 3, {"a": 1}, torch.ones(4, requires_grad=True), [1 + 2j]],
)
def test_arrays_of_other_things_are_refused(values):
    with pytest.raises(TypeError, match="boxes must be numbers, got"):
        number_array(values, "boxes")


def test_arrays_of_numbers():
    for values in ([[1, 2]], np.array([[1, 2]], np.uint8), torch.tensor([[1, 2]]), [torch.tensor([1.0, 2.0])]):
        array = number_array(values, "boxes")
        assert array.dtype == np.float64
        assert array.tolist() == [[1.0, 2.0]]
    assert number_array([], "boxes").shape == (0,)


def test_infer_takes_numpy_numbers():
    image = DrawnFigures(np.int64(1), np.int64(3))[0].image
    search = partial(cpm_fast.infer, image, model="compact-drawn", device="cpu", find="search")
    results = search(
        max_subjects=np.int64(3),
        min_find_score=np.float32(0.0),
        batch=np.int32(2),
        threads=np.uint8(1),
        readers=np.int64(0),
        max_pixels=np.int64(10**8),
        pyramid=np.array([1.0], np.float32),
    )
    wanted = search(max_subjects=3, min_find_score=0.0, batch=2, threads=1)
    assert 1 <= len(results[0]) <= 3
    np.testing.assert_array_equal(results[0].keypoints, wanted[0].keypoints)


@pytest.mark.parametrize("name", ["max_subjects", "min_find_score", "batch", "threads", "readers", "max_pixels"])
@pytest.mark.parametrize("wrong", [True, torch.tensor(2), np.array(2), "2"], ids=repr)
def test_infer_refuses_other_values(name, wrong):
    image = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises((ValueError, TypeError), match=f"{name} must be"):
        cpm_fast.infer(image, model="compact-drawn", device="cpu", find="search", **{name: wrong})


@pytest.mark.parametrize("rate", [True, torch.tensor(25.0), "25", float("inf"), 0])
def test_stream_refuses_other_rates(rate):
    with pytest.raises(ValueError, match="rate must be a positive number"):
        cpm_fast.stream([np.zeros((16, 16, 3), np.uint8)], model="compact-drawn", device="cpu", rate=rate)


def test_stream_takes_a_camera_s_number_of_numpy_and_no_bool():
    with pytest.raises(RuntimeError, match="camera 99"):
        cpm_fast.stream(np.int64(99), model="compact-drawn", device="cpu").__next__()
    with pytest.raises(TypeError, match="source must be a video file, a camera's number"):
        cpm_fast.stream(True, model="compact-drawn", device="cpu")


def test_engine_and_metrics():
    model = cpm_fast.load("compact-drawn", device="cpu")
    engine = cpm_fast.Engine(model, threads=np.int64(1), memory=np.int64(1 << 20))
    assert type(engine.memory) is int
    for name in ("threads", "memory"):
        for wrong in (True, torch.tensor(1), 1.5):
            with pytest.raises(ValueError, match=name):
                cpm_fast.Engine(model, **{name: wrong})
    truth = np.zeros((1, 2, 2))
    assert pck(truth, truth, np.ones(1), threshold=np.float32(0.5)).mean == 1
    for wrong in (True, torch.tensor(0.5), "0.5"):
        with pytest.raises(ValueError, match="threshold must be a finite number"):
            pck(truth, truth, np.ones(1), threshold=wrong)


def test_counts_of_samples_and_pictures():
    kept, held = hold_out(DrawnFigures(4), np.int64(1))
    assert (len(kept), len(held)) == (3, 1)
    for make in (lambda wrong: hold_out(DrawnFigures(4), wrong), DrawnFigures):
        for wrong in (True, 1.5, torch.tensor(2)):
            with pytest.raises(ValueError, match=r"must be (at least 1|from 0 to 3)"):
                make(wrong)
    for wrong in (True, torch.tensor(1 << 20)):
        with pytest.raises(ValueError, match="max_pixels must be"):
            list_images(np.zeros((8, 8, 3), np.uint8), max_pixels=wrong)


def test_ops_take_numpy_numbers():
    parts, labeled = torch.full((1, 1, 1, 2), 20.0), torch.ones(1, 1, 1, dtype=torch.bool)
    maps = gaussian_targets(parts, labeled, (np.int64(8), 8), np.float32(7.0), np.float64(8.0))
    assert torch.equal(maps, gaussian_targets(parts, labeled, (8, 8), 7.0, 8.0))
    found = many_peaks(maps[0], np.float32(0.5), np.int64(1))
    assert torch.equal(found[0], many_peaks(maps[0], 0.5, 1)[0])


def test_plain_leaves_other_things_alone():
    assert plain("abc") == "abc"
    assert plain(np.str_("a")) == "a"
    zero = np.array(3)
    assert plain(zero) is zero

    @dataclasses.dataclass(frozen=True)
    class Flags:
        on: bool = True
        word: str = "a"
        count: int | None = None

        def __post_init__(self):
            make_plain(self)

    assert Flags() == Flags(True, "a", None)
    assert Flags().on is True
