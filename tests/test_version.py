"""The version is in one place; every copy agrees."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import cpm_fast

ROOT = Path(__file__).resolve().parent.parent


def test_the_installed_version_is_that_of_the_source():
    """If this fails after a change of the version, install again."""
    assert version("cpm_fast") == cpm_fast.__version__


def test_the_citation_and_the_changelog_name_the_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"(?m)^version: (.+)$", citation)[1] == cpm_fast.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"(?m)^## ([\d.]+)", changelog)[1] == cpm_fast.__version__


def test_no_other_file_states_the_version():
    assert not re.search(r"(?m)^version\s*=\s*\"", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
