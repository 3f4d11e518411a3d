"""The examples in docstrings run, and print what they say."""

from __future__ import annotations

import doctest
import importlib
import re

import pytest

from support.pages import ROOT

PACKAGE = ROOT / "cpm_fast"
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if re.search(r"(?m)^ *>>> ", path.read_text(encoding="utf-8"))
)
# Names that must have an example.
SHOWN = ("metrics.pck", "metrics.pckh", "metrics.flic", "roi.Roi.from_box", "roi.Roi.from_mpii", "skeleton.Skeleton",
         "config.NetworkConfig", "recipes.TrainingConfig")  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_examples_of(module):
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted > 0 and found.failed == 0


@pytest.mark.parametrize("name", SHOWN)
def test_there_is_an_example_of(name):
    module, *attributes = name.split(".")
    value = importlib.import_module(f"cpm_fast.{module}")
    for attribute in attributes:
        value = getattr(value, attribute)
    assert ">>>" in (value.__doc__ or "")
