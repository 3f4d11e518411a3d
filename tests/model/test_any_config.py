"""Every configuration that is accepted makes a network that runs, and whose engine gives the same."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

import cpm_fast
from cpm_fast.config import CENTER, Conv, NetworkConfig
from cpm_fast.config.network import CONCAT_SOURCES
from cpm_fast.engine import Engine
from cpm_fast.model.cpm import CPM
from cpm_fast.skeleton import Skeleton
from cpm_fast.weights import load

convs = st.builds(Conv, st.sampled_from([1, 3, 5, 7, 9, 11, 13, 15]), st.integers(1, 9), st.integers(0, 2))
blocks = st.lists(convs, max_size=3).map(tuple)
sides = st.sampled_from([8, 16, 24, 40])
numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e-300, 1e-30, 1e-3, 0.5, 1.0, 21.0, 1e3, 1e30, 1e300, -1.0, -1e300, 0.0]),
)
fields = {
    "skeleton": st.integers(1, 3).map(lambda count: Skeleton("drawn", tuple("abc"[:count]))),
    "stages": st.integers(1, 3),
    "input_size": st.tuples(sides, sides),
    "trunk": st.lists(blocks, min_size=2, max_size=4).map(tuple) | st.just(((), (), ())),
    "tail": blocks,
    "shared_trunk": st.booleans(),
    "features": blocks,
    "first": blocks,
    "refine": blocks,
    "pool_kernel": st.integers(1, 4),
    "pool_padding": st.integers(0, 2),
    "center_map": st.booleans(),
    "center_sigma": numbers,
    "center_pool": st.integers(7, 17) | st.just(64),
    "background": st.booleans(),
    "concat": st.sampled_from([order for n in range(4) for order in permutations(CONCAT_SOURCES, n)]),
    "norm": st.sampled_from(["none", "batch"]),
    "cell_offset": numbers,
    "dropout": st.floats(0, 1),
    "init_std": st.none() | numbers,
    "color": st.sampled_from(["bgr", "rgb"]),
    "pixel_mean": st.tuples(numbers, numbers, numbers),
    "pixel_scale": st.tuples(numbers, numbers, numbers),
    "padding_value": st.integers(-1, 256),
    "margin": numbers,
    "side_map": st.booleans(),
    "find_score": numbers,
}
SMALL = {"trunk": ((Conv(3, 4),),) * 3, "features": (Conv(3, 4),), "first": (Conv(3, 4),), "refine": (Conv(3, 4),)}


def accepted(values: dict[str, object]) -> NetworkConfig:
    try:
        return NetworkConfig(**values)
    except ValueError as error:
        event(str(error).split()[0])
        assume(False)
        raise


# One to four fields at a time, since most values are refused when all are drawn.
drawn = st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: fields[name] for name in names})
)


@pytest.mark.filterwarnings("ignore:image 0. probably wrong")
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn, st.booleans())
def test_what_is_accepted_runs(tmp_path_factory, values, find):
    finder = {
        "kind": "find",
        "skeleton": CENTER,
        "center_map": False,
        "background": False,
        "concat": ("features", "beliefs"),
    }
    small = {"stages": 2, "init_std": None, "input_size": (16, 24), **SMALL}
    config = accepted({**small, **(finder if find else {}), **values})
    torch.manual_seed(0)
    model = CPM(config).eval()
    crops = torch.randn(2, 3, *config.input_size)
    with torch.inference_mode():
        maps = model(crops)
        assert [each.shape[1] for each in maps] == [config.maps] * config.stages
        assert config.init_std is not None or all(each.isfinite().all() for each in maps)
        center_map = torch.rand(2, 1, *config.input_size) if config.center_map else None
        for given_map in (None, center_map):
            for plain, fast in zip(model(crops, given_map), Engine(model)(crops, given_map), strict=True):
                torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-4 * max(1.0, float(plain.abs().max())))
    if config.init_std is None and config.kind == "pose":
        picture = torch.randint(0, 256, (30, 20, 3), dtype=torch.uint8).numpy()
        (result,) = cpm_fast.infer([picture], model=model, find=False)
        assert np.isfinite(result.keypoints).all() and np.isfinite(result.scores).all()
    path = tmp_path_factory.mktemp("weights") / "network.safetensors"
    model.save(path)
    assert load(path).config == config
