"""Measured tuning: the choice, the file for the next process, and damaged files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from cpm_fast.config import Conv, NetworkConfig
from cpm_fast.engine import Engine, tuning
from cpm_fast.engine.tuning import DIRECT, TunedPlan, cache_folder, tiles_to_try
from cpm_fast.model.cpm import CPM
from cpm_fast.ops import backend
from cpm_fast.ops.plans.cpu import ConvShape, CpuPlan
from cpm_fast.system.torch_settings import cpu_threads
from support.exact import relative_error

SMALL = NetworkConfig(
    stages=2,
    input_size=(96, 80),
    trunk=((Conv(9, 8),), (Conv(5, 8),), (Conv(3, 8),)),
    features=(Conv(5, 8),),
    first=(Conv(9, 16), Conv(1, 12)),
    refine=(Conv(11, 16), Conv(1, 8)),
    init_std=None,
)

pytestmark = pytest.mark.skipif(backend.native_missing("cpu") is not None, reason="the native module is missing")

SHAPE = ConvShape(1, 16, 16, 9, (46, 46))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CPM_FAST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ConvShape, int]]:
    """Record the measurements; a larger tile has a shorter time."""
    calls: list[tuple[ConvShape, int]] = []

    def measured(shape: ConvShape, tile: int, dtype: torch.dtype) -> float:
        calls.append((shape, tile))
        return 1.0 / (1 + tile)

    monkeypatch.setattr(tuning, "measured", measured)
    return calls


def test_the_fastest_measured_is_chosen(asked: list) -> None:
    plan = TunedPlan()
    plan.measure([SHAPE, SHAPE])
    assert asked == [(SHAPE, tile) for tile in tiles_to_try(SHAPE)] and len(asked) > 2
    largest = max(tiles_to_try(SHAPE))
    assert plan.tile(SHAPE) == largest
    assert plan.milliseconds(SHAPE, largest) == 1.0 / (1 + largest)
    second = sorted(tiles_to_try(SHAPE))[-2]
    assert plan.tile(SHAPE, SHAPE.spectra_bytes(largest) - 1) == second
    assert plan.tile(SHAPE, 0) is None


def test_the_direct_form_may_be_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "measured", lambda shape, tile, dtype: 1.0 if tile == DIRECT else 2.0)
    plan, shape = TunedPlan(), ConvShape(1, 8, 8, 3, (12, 12))
    plan.measure([shape])
    assert plan.tile(shape) is None


def test_what_was_not_measured_is_chosen_as_ever(asked: list) -> None:
    assert TunedPlan().tile(SHAPE) == CpuPlan().tile(SHAPE)
    assert TunedPlan().milliseconds(SHAPE, None) == CpuPlan().milliseconds(SHAPE, None)


def test_candidates_hold_the_best_by_the_model() -> None:
    for shape in (SHAPE, ConvShape(1, 128, 128, 11, (46, 46)), ConvShape(2, 3, 8, 3, (20, 20))):
        costs = {tile: shape.spectral_milliseconds(tile) for tile in tiles_to_try(shape) if tile != DIRECT}
        costs |= {DIRECT: shape.direct_milliseconds}
        assert min(costs, key=costs.__getitem__) in tiles_to_try(shape)
    assert tiles_to_try(ConvShape(1, 8, 8, 1, (9, 9))) == [DIRECT]
    assert tiles_to_try(ConvShape(0, 8, 8, 9, (9, 9))) == [DIRECT]


def test_measurements_are_kept_for_the_next(asked: list, folder: Path) -> None:
    TunedPlan().measure([SHAPE])
    (file,) = folder.iterdir()
    count = len(asked)
    again = TunedPlan()
    again.measure([SHAPE])
    assert len(asked) == count and again.tile(SHAPE) == max(tiles_to_try(SHAPE))
    held = json.loads(file.read_text())
    assert held["threads"] == backend.threads() and held["simd"] and held["processor"] and held["cpm_fast"]


def test_other_threads_are_measured_anew(asked: list, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend.native(), "usable_cpus", lambda: 64)
    for count in (2, 3):
        with cpu_threads(count):
            TunedPlan().measure([SHAPE])
    assert len(list(folder.iterdir())) == 2 and len(asked) == 2 * len(tiles_to_try(SHAPE))


def test_weights_of_bfloat16_are_measured_anew(asked: list, folder: Path) -> None:
    plans = [TunedPlan(dtype) for dtype in (torch.float32, torch.bfloat16)]
    for plan in plans:
        plan.measure([SHAPE])
    assert len(list(folder.iterdir())) == 2
    assert len(asked) == sum(len(tiles_to_try(SHAPE, plan=plan)) for plan in plans)


def test_half_the_memory_holds_the_tile_of_bfloat16() -> None:
    most = SHAPE.spectra_bytes(CpuPlan().tile(SHAPE) or 0) // 2
    plan = CpuPlan(torch.bfloat16)
    assert plan.tile(SHAPE, most) == CpuPlan().tile(SHAPE)
    assert plan.spectra_bytes(SHAPE, plan.tile(SHAPE) or 0) == most


def test_a_tuned_engine_has_its_precision() -> None:
    """In bf16 its forms round differently, so the promise is the bound: twice the error of PyTorch's bfloat16."""
    model, x = CPM(SMALL).eval(), torch.randn(1, 3, 96, 80)
    wanted = Engine(model)(x)[-1]
    with torch.no_grad(), backend.use_backend("reference"), torch.autocast("cpu", torch.bfloat16):
        rounded = model(x)[-1]
    for precision, most in (("fp32", 1e-5), ("bf16", 2 * relative_error(rounded, wanted))):
        found = Engine(model, precision=precision, tune=True)(x)[-1]
        assert relative_error(found, wanted) < most


def test_products_of_pairs_count_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend.native(), "simd", lambda: "avx512_bf16")
    shape = ConvShape(1, 64, 64, 3, (46, 46))
    taken = CpuPlan().milliseconds(shape, None), CpuPlan(torch.bfloat16).milliseconds(shape, None)
    assert 0.5 < taken[1] / taken[0] < 0.6
    taken = CpuPlan().milliseconds(shape, 16), CpuPlan(torch.bfloat16).milliseconds(shape, 16)
    assert 0.6 < taken[1] / taken[0] < 1.0


def test_what_another_process_has_found_stays(asked: list) -> None:
    first, second = TunedPlan(), TunedPlan()
    other = ConvShape(1, 16, 16, 5, (46, 46))
    first.measure([SHAPE])
    second.measure([other])
    assert set(TunedPlan().milliseconds_of) == {SHAPE, other}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"milliseconds": []}',
        '{"milliseconds": {"1 2": {"16": 1.0}}}',
        '{"milliseconds": {"1 16 16 9 46 46": {"17": 1.0}}}',
        '{"milliseconds": {"1 16 16 9 46 46": {"16": -1.0}}}',
        '{"milliseconds": {"1 16 16 9 46 46": {"16": NaN}}}',
        '{"milliseconds": {"1 16 16 9 46 46": {}}}',
        '{"milliseconds": {"1 16 16 9 46 46": 3}}',
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_ignored_and_written_anew(text: str, asked: list, folder: Path) -> None:
    file = TunedPlan().file
    folder.mkdir()
    file.write_text(text)
    with pytest.warns(RuntimeWarning, match="is damaged and not used"):
        plan = TunedPlan()
    plan.measure([SHAPE])
    assert TunedPlan().tile(SHAPE) == max(tiles_to_try(SHAPE))


def test_a_folder_that_cannot_be_written_costs_only_a_warning(asked: list, folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    with pytest.warns(RuntimeWarning, match="is damaged and not used"):
        plan = TunedPlan()
    with pytest.warns(RuntimeWarning, match="tuning is not kept for the next process"):
        plan.measure([SHAPE])
    assert plan.tile(SHAPE) == max(tiles_to_try(SHAPE))


def test_an_engine_takes_what_was_measured(asked: list) -> None:
    model = CPM(SMALL).eval()
    engine, crops = Engine(model, tune=True), torch.randn(1, 3, *SMALL.input_size)
    with torch.no_grad():
        wanted = model(crops)
    for found, maps in zip(engine(crops), wanted, strict=True):
        assert (found - maps).norm() <= 2e-6 * maps.norm().clamp_min(1e-3)
    assert asked and not (set(asked) - {(shape, tile) for shape, _ in asked for tile in tiles_to_try(shape)})
    text = engine.describe()
    for shape in {shape for shape, _ in asked}:
        if max(tiles_to_try(shape)) != DIRECT:
            assert f"spectral {max(tiles_to_try(shape))}" in text
    count = len(asked)
    Engine(model, tune=True)(crops)
    Engine(CPM(SMALL).eval(), tune=True)(crops)
    assert len(asked) == count
    assert engine.describe() != Engine(model).describe()


def test_it_measures_for_real() -> None:
    shape = ConvShape(1, 8, 8, 5, (20, 20))
    plan = TunedPlan()
    plan.measure([shape])
    times = plan.milliseconds_of[shape]
    assert set(times) == set(tiles_to_try(shape)) and all(0 < taken < 1e3 for taken in times.values())
    assert (plan.tile(shape) or DIRECT) == min(times, key=times.__getitem__)


def test_nothing_is_measured_without_native_code(asked: list) -> None:
    with backend.use_backend("reference"):
        Engine(CPM(SMALL).eval(), tune=True)(torch.randn(1, 3, *SMALL.input_size))
    assert not asked


def test_the_numbers_of_the_caller_stay_theirs() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    TunedPlan().measure([ConvShape(1, 4, 4, 3, (6, 6))])
    assert torch.equal(torch.rand(4), wanted)


def test_threads_measure_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    running = threading.Semaphore(1)

    def measured(shape: ConvShape, tile: int, dtype: torch.dtype) -> float:
        assert running.acquire(blocking=False), "two at once"
        calls.append(tile)
        time.sleep(0.01)
        running.release()
        return 1.0 + tile

    monkeypatch.setattr(tuning, "measured", measured)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: TunedPlan().measure([SHAPE]), range(4)))
    assert sorted(calls) == sorted(tiles_to_try(SHAPE))


def test_forms_beyond_the_memory_are_measured_when_there_is_more(asked: list) -> None:
    plan, forms = TunedPlan(), tiles_to_try(SHAPE)
    largest = max(forms)
    plan.measure([SHAPE], SHAPE.spectra_bytes(largest) - 1)
    assert largest not in {tile for _, tile in asked}
    plan.measure([SHAPE])
    assert sorted(tile for _, tile in asked) == sorted(forms) and plan.tile(SHAPE) == largest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_measures_nothing_and_works() -> None:
    model, crops = CPM(SMALL).eval(), torch.randn(1, 3, *SMALL.input_size)
    wanted = Engine(model)(crops)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        found = Engine(model, tune=True)(crops)
        os._exit(0 if all(map(torch.allclose, found, wanted)) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_model_with_its_own_forward_is_not_tuned() -> None:
    class Own(CPM):
        def forward(self, crops: torch.Tensor, center_map: torch.Tensor | None = None) -> list[torch.Tensor]:
            return super().forward(crops, center_map)

    with pytest.raises(RuntimeError, match="in fp32 and untuned only"):
        Engine(Own(SMALL).eval(), tune=True)


@pytest.mark.skipif(sys.platform != "linux", reason="the folder is another")
def test_the_folder_of_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("CPM_FAST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "cpm_fast"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "cpm_fast"


def test_without_a_home_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, asked: list) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for variable in ("CPM_FAST_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    plan = TunedPlan()
    plan.measure([SHAPE])
    assert cache_folder() is None and plan.tile(SHAPE) == max(tiles_to_try(SHAPE))


def test_killed_while_it_measures_keeps_what_it_had(folder: Path) -> None:
    code = (
        "import os, torch\nfrom cpm_fast.engine import tuning\nfrom cpm_fast.ops.plans.cpu import ConvShape\n"
        f"torch.set_num_threads({torch.get_num_threads()})\n"
        "real, calls = tuning.measured, []\n"
        "def measured(shape, tile, dtype):\n    calls.append(shape)\n"
        "    if shape.kernel == 5: os._exit(9)\n    return 1.0 + tile\n"
        "tuning.measured = measured\n"
        "tuning.TunedPlan().measure([ConvShape(1, 16, 16, 9, (46, 46)), ConvShape(1, 16, 16, 5, (46, 46))])\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert set(TunedPlan().milliseconds_of) == {SHAPE}
