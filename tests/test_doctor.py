"""The doctor finds out what does not run, not only what is not there."""

from __future__ import annotations

import pytest
import torch

from cpm_fast import doctor
from cpm_fast.ops import backend

OPS = ("gaussian_targets", "resize_merge", "peaks", "merge_peaks")
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
