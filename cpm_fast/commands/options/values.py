"""Values that the options of cpm-fast infer stand for, on pictures and on videos."""

from __future__ import annotations

import argparse
from typing import Any

from cpm_fast.inference.asking import AUTO, WHOLE, Looks
from cpm_fast.inference.finders.center_finder import CenterFinder
from cpm_fast.inference.finders.finder import Finder
from cpm_fast.inference.settings import Settings
from cpm_fast.inference.unfinished import fingerprint
from cpm_fast.system.numbers import check_score


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings of the path from regions to parts."""
    return Settings(
        options.pyramid or (1.0,),
        options.flip,
        options.batch,
        options.precision,
        belief_maps=options.stages,
        tune=options.tune,
    )


def checked_score(score: float | None) -> float | None:
    """Check the --min-score of the command line.

    Raises:
        ValueError: not a finite number up to 1.
    """
    if score is not None:
        check_score(score, "--min-score")
    return score


def asked_find(options: argparse.Namespace) -> Any:
    """Return the argument `find` of `infer` that --find and --finder stand for.

    Raises:
        ValueError: they contradict each other.
    """
    if options.finder is not None and options.find != AUTO:
        raise ValueError(f"--finder must stand without --find, got --find {options.find} beside it")
    if options.find == WHOLE:
        return False
    return options.find if options.finder is None else options.finder


def found_by(looks: Looks | None) -> str:
    """Describe the search for subjects and its limits; equal descriptions find the same subjects."""
    if isinstance(looks, Finder | CenterFinder):
        judge = looks.judge if isinstance(looks, Finder) else None
        judged = "" if judge is None else f" judged by {fingerprint(judge.model)}"
        return f"finder {fingerprint(looks.engine.model)}{judged} {looks.search!r}"
    return repr(looks)
