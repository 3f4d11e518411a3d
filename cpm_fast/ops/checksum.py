"""`checksum`: one number that changes with any value of some tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from cpm_fast.ops import backend
from cpm_fast.ops.memory import check_memory


def checksum(tensors: Sequence[torch.Tensor]) -> int:
    """Return a 64-bit sum over the bits of tensors on the CPU, each value's place among them.

    A change of one value always changes it; changes of several cancel by chance only, once in 2^32 or more. It reads at
    the speed of memory: 7.6 MB, the weights of wide-lsp, in one pass without copies. It differs from machine to
    machine.

    Raises:
        RuntimeError: a tensor is on another device, or has no memory of its own.
    """
    pieces = []
    for tensor in tensors:
        if tensor.device.type != "cpu":
            raise RuntimeError(f"tensors must be on the CPU, got {tensor.device}")
        check_memory("a weight", tensor)
        # A dense tensor is one piece whatever its order.
        if not (tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)):
            tensor = tensor.detach().contiguous()
        pieces.append(tensor)
    if backend.native_missing("cpu") is not None:
        return _plain(pieces)
    return backend.native().checksum_cpu([(each.data_ptr(), each.nbytes) for each in pieces], backend.threads())


def _plain(tensors: Sequence[torch.Tensor]) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        flat = tensor.detach().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"-")
    return int.from_bytes(digest.digest(), "little")
