"""The modes in which convolutions on CUDA compute, and their chips."""

from __future__ import annotations

import torch

from cpm_fast.ops import backend

# By dtype of the arguments; float32 follows PyTorch's setting.
HALF_MODES = {torch.float16: "fp16", torch.bfloat16: "bf16"}
DTYPES = (torch.float32, *HALF_MODES)


def mode_of(dtype: torch.dtype) -> str:
    """Return the mode of the kernels ("fp16", "bf16", "tf32", "tf32x3" or "ieee") for arguments of a dtype.

    Raises:
        TypeError: there is none.
    """
    if dtype in HALF_MODES:
        return HALF_MODES[dtype]
    if dtype != torch.float32:
        raise TypeError(f"x must be float32, float16 or bfloat16 on CUDA, got {dtype}")
    precision = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    return precision if precision in ("tf32", "ieee") else "tf32x3"


def capability_of(device: torch.device) -> int:
    """Return the compute capability of a device as a number: 80, 90 and so on.

    Raises:
        RuntimeError: the kernels need more.
    """
    major, minor = torch.cuda.get_device_capability(device)
    missing = backend.capability_missing((major, minor))
    if missing is not None:
        raise RuntimeError(f"context_conv on {device}: {missing}")
    return 10 * major + minor
