"""The doctor detects parts that do not run, not only missing ones."""

from __future__ import annotations

import pytest
import torch

from cpm_fast.commands import doctor
from cpm_fast.ops import backend

OPS = ("gaussian_targets", "resize_merge", "peaks", "merge_peaks", "spectral_conv", "spectral_weight_gradient")
needs_native = pytest.mark.skipif(
    backend.native_missing("cpu") is not None, reason="the native module is not built, so nothing of it is tested"
)


@needs_native
def test_self_test_is_content_with_right_ops():
    assert doctor._self_test("cpu") == ""


@needs_native
@pytest.mark.parametrize("op", OPS)
def test_self_test_names_an_op_that_is_wrong(monkeypatch, op):
    right = getattr(doctor, op)

    def wrong(*inputs):
        results = right(*inputs)
        if backend._requested != "fast":
            return results
        return tuple(result + 1 for result in results) if isinstance(results, tuple) else results + 1

    monkeypatch.setattr(doctor, op, wrong)
    row = doctor._native_cpu()
    assert row.state == "problem"
    assert row.found.startswith(f"{op} is wrong by")


@needs_native
def test_self_test_names_an_op_that_fails(monkeypatch):
    def refuses(*_):
        raise RuntimeError("no kernel image is available\nmore")

    monkeypatch.setattr(doctor, "merge_peaks", refuses)
    assert doctor._self_test("cpu") == "merge_peaks does not run: no kernel image is available"


def test_nan_is_wrong(monkeypatch):
    monkeypatch.setattr(doctor, "peaks", lambda *_: (torch.full((1,), torch.nan),))
    assert "peaks is wrong" in doctor._self_test("cpu")


def with_a_gpu(monkeypatch, there: bool, init=lambda: None):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "some GPU")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("The NVIDIA driver on your system is too old (found version 11040). Please update", "problem"),
        ("Found no NVIDIA driver on your system. Please check", "ok"),
        ("No CUDA GPUs are available", "ok"),
    ],
    ids=["old driver", "no driver", "no GPU"],
)
def test_a_driver_too_old_for_torch_is_a_line(monkeypatch, said, state):
    def init():
        raise RuntimeError(said + "\nmore")

    with_a_gpu(monkeypatch, False, init)
    row = doctor._torch()
    assert row.state == state
    if state == "problem":
        assert "too old (found version 11040)" in row.found and "Update the NVIDIA driver" in row.advice


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("peaks: CUDA driver version is insufficient for CUDA runtime version", "Update the NVIDIA driver"),
        ("peaks: no kernel image is available for execution on the device", 'CPM_FAST_CUDA_ARCHS="75"'),
    ],
    ids=["old driver", "other GPU"],
)
def test_native_cuda_ops_that_do_not_run_are_a_line(monkeypatch, error, advice):
    with_a_gpu(monkeypatch, True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index=None: (7, 5))
    monkeypatch.setattr(backend, "native_missing", lambda device: None)
    monkeypatch.setattr(backend, "build_info", lambda: {"cuda": "13.0", "cuda_archs": "80 90"})
    monkeypatch.setattr(doctor, "_self_test", lambda device: error)
    row = doctor._native_cuda()
    assert row.state == "problem" and error in row.found and advice in row.advice


def test_triton_kernels_are_tried(monkeypatch):
    with_a_gpu(monkeypatch, True)
    monkeypatch.setattr(doctor, "installed", lambda package: "3.9.0")
    monkeypatch.setattr(doctor, "_convolution", lambda device: lambda: (torch.zeros(1),))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index=None: (9, 0))
    assert doctor._triton().state == "ok"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index=None: (7, 5))
    assert "compute capability 7.5" in doctor._triton().found
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index=None: (9, 0))
    monkeypatch.setattr(doctor, "_convolution", lambda device: lambda: (torch.full((1,), torch.nan),))
    assert doctor._triton().state == "problem" and "context_conv is wrong" in doctor._triton().found


def test_the_convolution_of_the_self_test_is_one():
    assert doctor._first_difference({"context_conv": doctor._convolution("cpu")}, 1e-5) == ""
