"""Scores as tables show them and as files of numbers hold them: NaN is a score of nothing."""

from __future__ import annotations

import math


def percent(value: float) -> str:
    """Format a fraction in percent for a table; a dash for NaN.

    Examples:
        >>> percent(0.8125), percent(math.nan)
        ('81.2', '-')
    """
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def plain_number(value: float) -> float | None:
    """Return a number that JSON has: None for NaN."""
    return None if math.isnan(value) else float(value)
