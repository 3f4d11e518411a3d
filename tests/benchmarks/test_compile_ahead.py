"""The kernels that a visit compiles ahead are those that its later steps launch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

from benchmarks.gpu.testing import compile_ahead, launches_ahead
from cpm_fast.kernels.direct_conv_weight import gate_launches
from support.gpu_cases import CORE_CASES

KERNELS = {f"context_conv_{name}_kernel" for name in ("forward", "dweight", "gate", "sum")} | {
    f"spectral_conv_{name}_kernel" for name in ("transform", "product", "dweight", "inverse")
}


def test_every_kernel_is_compiled_ahead() -> None:
    found = launches_ahead.launches_of(launches_ahead.core(), 90)
    assert {launch.kernel.__name__ for launch in found.values()} == KERNELS
    relu = [launch.constants["RELU"] for launch in found.values() if "gate" in launch.kernel.__name__]
    assert set(relu) == {0, 1} and any(not case.relu for case in CORE_CASES)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU, whose driver Triton uses")
def test_a_launch_finds_what_was_compiled_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime import driver

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    # Restored after the test, whatever it is set to.
    monkeypatch.setattr(driver, "_active", None)
    y = torch.zeros(1, 32, 8, 8).contiguous(memory_format=torch.channels_last)
    launch, _ = gate_launches(y, y, torch.empty_like(y), y.new_empty(32), 90)
    compile_ahead.prepare("cpu")
    launch.kernel.device_caches.clear()
    compile_ahead.compile_job(compile_ahead.Job.of(launch))
    compiled = sorted(tmp_path.iterdir())
    launch.kernel.device_caches.clear()
    options = {"num_warps": launch.warps, "num_stages": launch.stages}
    launch.kernel.warmup(grid=(launch.programs,), **launch.arguments, **launch.constants, **options)
    launch.kernel.device_caches.clear()
    assert compiled and sorted(tmp_path.iterdir()) == compiled
