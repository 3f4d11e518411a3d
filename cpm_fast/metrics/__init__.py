"""Metrics of located parts: PCK, PCKh, the FLIC rule and areas under curves, on arrays.

A part is right if its distance to the truth is at most a threshold times the subject's reference length. Comparisons
are not strict and means are pooled over all labeled parts of all subjects, as the LSP and MPII benchmarks do; some
later toolkits compare strictly or average the parts' scores instead.
"""

from cpm_fast.metrics.correct import CURVE_THRESHOLDS, PCK_THRESHOLD, Score, errors, pck, scores
from cpm_fast.metrics.curves import area_below, area_under_curve, curve
from cpm_fast.metrics.lengths import (
    box_reference_length,
    flic_reference_length,
    lsp_reference_length,
    mpii_reference_length,
)
from cpm_fast.metrics.rules import PCKH_THRESHOLD, FlicScore, flic, in_mpii_mean, pckh

__all__ = [
    "CURVE_THRESHOLDS",
    "PCKH_THRESHOLD",
    "PCK_THRESHOLD",
    "FlicScore",
    "Score",
    "area_below",
    "area_under_curve",
    "box_reference_length",
    "curve",
    "errors",
    "flic",
    "flic_reference_length",
    "in_mpii_mean",
    "lsp_reference_length",
    "mpii_reference_length",
    "pck",
    "pckh",
    "scores",
]
