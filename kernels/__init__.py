"""Triton kernels and their launchers, imported as `cpm_fast.kernels`; used by cpm_fast.ops only.

One file per op, under the op's name. This package does not import Triton; those files do.
"""

if __name__ != "cpm_fast.kernels":
    raise ImportError(
        f"the Triton kernels of cpm_fast must be imported as cpm_fast.kernels, got {__name__!r}; "
        "if cpm_fast.kernels is not found, install the project first: pip install -e ."
    )
