"""`checksum`: one number that changes with any value of some tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import torch

from cpm_fast.ops import backend
from cpm_fast.ops.memory import check_memory


class StartedChecksum(Protocol):
    """A checksum that other threads compute."""

    def result(self) -> int:
        """Wait for it, with this thread's help."""


def checksum(tensors: Sequence[torch.Tensor]) -> int:
    """Return a 64-bit sum over the bits of tensors on the CPU, each value's place among them.

    A change of one value always changes it; changes of several cancel by chance only, once in 2^32 or more. It reads at
    the speed of memory: 7.6 MB, the weights of wide-lsp, in one pass without copies. It differs from machine to
    machine.

    Raises:
        RuntimeError: a tensor is on another device, or has no memory of its own.
    """
    for tensor in tensors:
        if tensor.device.type != "cpu":
            raise RuntimeError(f"tensors must be on the CPU, got {tensor.device}")
        check_memory("a weight", tensor)
    if backend.native_missing("cpu") is not None:
        return _checksum_without_native(tensors)
    pieces = [tensor if _dense(tensor) else tensor.detach().contiguous() for tensor in tensors]
    return started_checksum([(piece.data_ptr(), piece.nbytes) for piece in pieces]).result()


def spans_of(tensors: Sequence[torch.Tensor]) -> list[tuple[int, int]] | None:
    """Return (address, bytes) of tensors that `checksum` accepts, for `started_checksum`; None if it can't."""
    if backend.native_missing("cpu") is not None or not all(map(_dense, tensors)):
        return None
    return [(tensor.data_ptr(), tensor.nbytes) for tensor in tensors]


def started_checksum(spans: list[tuple[int, int]]) -> StartedChecksum:
    """Let other threads begin the `checksum` of tensors by their spans; `result()` waits for it.

    The memory is the caller's to keep until then, or until the object is gone.
    """
    return backend.native().StartedChecksum(spans, backend.threads())


def _dense(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is one piece of memory, whatever its order."""
    return tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)


def _checksum_without_native(tensors: Sequence[torch.Tensor]) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        flat = tensor.detach().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"-")
    return int.from_bytes(digest.digest(), "little")
