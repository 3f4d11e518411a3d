"""Convolutions of the tests on a GPU: those named core are small enough for compute-sanitizer."""

from __future__ import annotations

from support.cases import ConvCase

# The 6-stage network's, at batch 2; conv1 of both trunks at once.
REAL_CASES = (
    ConvCase("conv1", 2, 3, 256, 9, (368, 368)),
    ConvCase("block2", 2, 128, 128, 9, (184, 184)),
    ConvCase("block3", 2, 128, 128, 9, (92, 92)),
    ConvCase("features", 2, 128, 32, 5, (46, 46)),
    ConvCase("head", 2, 32, 512, 9, (46, 46)),
    ConvCase("head-1x1", 2, 512, 512, 1, (46, 46)),
    ConvCase("concat", 2, 48, 128, 11, (46, 46)),
    ConvCase("refine", 2, 128, 128, 11, (46, 46)),
    ConvCase("beliefs", 2, 128, 15, 1, (46, 46), relu=False),
)
CORE_CASES = (
    ConvCase("core-conv1", 2, 3, 20, 9, (19, 23)),
    ConvCase("core-aligned", 2, 16, 33, 5, (17, 13)),
    ConvCase("core-odd", 1, 43, 15, 3, (11, 9), relu=False),
)
# These cases run in the spectral form, which the plan might not choose for them.
SPECTRAL_CASES = (
    (ConvCase("core-spectral", 2, 16, 20, 5, (19, 23)), 16),
    (ConvCase("core-spectral-odd", 1, 15, 33, 9, (17, 26), relu=False), 24),
    (ConvCase("spectral-block2", 2, 128, 128, 9, (184, 184)), 32),
    (ConvCase("spectral-block3", 2, 128, 128, 9, (92, 92)), 54),
    (ConvCase("spectral-concat", 2, 48, 128, 11, (46, 46)), 22),
    (ConvCase("spectral-refine", 2, 128, 128, 11, (46, 46)), 64),
)
