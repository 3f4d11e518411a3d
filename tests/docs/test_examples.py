"""The examples in docstrings run, and print the stated output."""

from __future__ import annotations

import doctest
import importlib
import re

import pytest

import cpm_fast
from support.pages import ROOT

PACKAGE = ROOT / "cpm_fast"
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if re.search(r"(?m)^ *>>> ", path.read_text(encoding="utf-8"))
)
# Names that must have an example.
SHOWN = (
    *(f"cpm_fast.{name}" for name in cpm_fast.__all__ if name not in ("__version__", "metrics")),
    *(f"cpm_fast.metrics.{name}" for name in ("flic", "pck", "pckh", "scores", "curve", "area_under_curve", "errors")),
    *(f"cpm_fast.metrics.{name}_reference_length" for name in ("mpii", "box")),
    *(f"cpm_fast.evaluation.{name}" for name in ("Rule", "evaluate_predictions")),
    "cpm_fast.data.open_dataset",
    *(f"cpm_fast.ops.{op}.{op}" for op in ("context_conv", "gaussian_targets", "merge_peaks", "peaks", "resize_merge")),
    "cpm_fast.ops.direct_conv.pack_weight",
    "cpm_fast.ops.spectral_conv.transform_weight",
)


@pytest.mark.parametrize("module", MODULES)
def test_examples_of(module):
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted > 0 and found.failed == 0


@pytest.mark.parametrize("name", SHOWN)
def test_there_is_an_example_of(name):
    module, _, attribute = name.rpartition(".")
    value = getattr(importlib.import_module(module), attribute)
    assert ">>>" in (value.__doc__ or "")
