"""Every configuration that is accepted makes a network that runs, and whose engine gives the same."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cpm_fast
from cpm_fast.config import CENTER, Conv, NetworkConfig
from cpm_fast.config.network import CONCAT_SOURCES
from cpm_fast.engine import Engine
from cpm_fast.model.cpm import CPM
from cpm_fast.skeleton import Skeleton
from cpm_fast.weights import load

pytestmark = pytest.mark.filterwarnings("ignore:image 0. probably wrong")

NUMBERS = (0.0, 1e-300, 1e-40, 1e-30, 1e-3, 0.5, 1.0, 10.0, 255.0, 8192.0, 1e30, 1e39, 1e300)
NUMBERS += tuple(-number for number in NUMBERS)
VALUES: dict[str, tuple[Any, ...]] = {
    "stages": (0, 1, 2, 3),
    "input_size": ((8, 8), (8, 40), (40, 24), (12, 8), (8,)),
    "pool_kernel": (1, 2, 3, 4),
    "center_sigma": NUMBERS,
    "center_pool": (7, 8, 9, 15, 16, 17, 64),
    "concat": tuple(order for count in range(4) for order in permutations(CONCAT_SOURCES, count)),
    "cell_offset": NUMBERS,
    "dropout": (-0.1, 0.0, 0.9999, 1.0, *NUMBERS),
    "init_std": (None, *NUMBERS),
    "pixel_mean": tuple((1.0, number, 1.0) for number in NUMBERS),
    "pixel_scale": tuple((1.0, number, 1.0) for number in NUMBERS),
    "padding_value": (-1, 0, 255, 256),
    "margin": NUMBERS,
    "find_score": NUMBERS,
    "find_sizes": ((), (31,), (32,), (2048, 64), (64, 64), (64, 128), (480.5,), (480, 240, 120, 60)),
}
CONVS = st.builds(Conv, st.sampled_from([1, 3, 5, 7, 9, 11, 13, 15]), st.integers(1, 9), st.integers(0, 2))
BLOCKS = st.lists(CONVS, max_size=3).map(tuple)
FIELDS = {
    **{name: st.sampled_from(values) for name, values in VALUES.items()},
    "skeleton": st.integers(1, 3).map(lambda count: Skeleton("drawn", tuple("abc"[:count]))),
    "trunk": st.lists(BLOCKS, min_size=2, max_size=4).map(tuple),
    **dict.fromkeys(("tail", "features", "first", "refine"), BLOCKS),
    **dict.fromkeys(("shared_trunk", "center_map", "background", "side_map"), st.booleans()),
    "pool_padding": st.integers(0, 2),
    "norm": st.sampled_from(["none", "batch"]),
    "color": st.sampled_from(["bgr", "rgb"]),
}
BLOCK = (Conv(3, 4),)
SMALL = {
    "stages": 2,
    "input_size": (16, 24),
    "init_std": None,
    **{"trunk": (BLOCK,) * 3, "features": BLOCK, "first": BLOCK, "refine": BLOCK},
}
FINDER = {
    "kind": "find",
    "skeleton": CENTER,
    "concat": ("features", "beliefs"),
    **dict.fromkeys(("center_map", "background"), False),
}


def check(values: dict[str, Any], folder: Path) -> bool:
    """Return whether a configuration was accepted; what follows from that is asserted."""
    try:
        config = NetworkConfig(**{**SMALL, **values})
    except ValueError:
        return False
    torch.manual_seed(0)
    model = CPM(config).eval()
    crops = torch.randn(2, 3, *config.input_size)
    center_map = torch.rand(2, 1, *config.input_size)
    with torch.inference_mode():
        for given_map in (None, center_map):
            maps = model(crops, given_map)
            assert [each.shape[1] for each in maps] == [config.maps] * config.stages
            # Large weights overflow, which is no fault of the configuration.
            assert config.init_std is not None or all(each.isfinite().all() for each in maps)
            for plain, fast in zip(maps, Engine(model)(crops, given_map), strict=True):
                torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-4 * max(1.0, float(plain.abs().max())))
    if config.init_std is None and config.kind == "pose":
        picture = torch.randint(0, 256, (30, 20, 3), dtype=torch.uint8).numpy()
        (result,) = cpm_fast.infer([picture], model=model, find=False)
        assert np.isfinite(result.keypoints).all() and np.isfinite(result.scores).all()
    model.save(folder / "network.safetensors")
    assert load(folder / "network.safetensors").config == config
    return True


@pytest.mark.parametrize("kind", ["pose", "find"])
@pytest.mark.parametrize("name", VALUES)
def test_a_field(tmp_path: Path, name: str, kind: str) -> None:
    values = [{**(FINDER if kind == "find" else {}), name: value} for value in VALUES[name]]
    assert True in [check(each, tmp_path) for each in values]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from(sorted(FIELDS)), min_size=2, max_size=4, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in names})
    ),
    st.booleans(),
)
def test_some_fields(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], find: bool) -> None:
    check({**(FINDER if find else {}), **values}, tmp_path_factory.mktemp("weights"))
