"""Tensors that end where memory ends: the page after them can't be touched, so a read beyond faults at once."""

from __future__ import annotations

import ctypes
import math
import mmap
import weakref

import torch

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
NO_ACCESS, READ, WRITE = 0, 1, 2
PRIVATE_ANONYMOUS = 0x22


def guarded(values: torch.Tensor, strides: tuple[int, ...], at_end: bool = True, writable: bool = True) -> torch.Tensor:
    """Return a tensor of these strides and values, whose memory ends, or begins, at a page that faults.

    The memory is freed with the last tensor that uses it: a process may hold some 65,000 mappings only.
    """
    spans = ((side - 1) * step for side, step in zip(values.shape, strides, strict=True))
    floats = 1 + sum(spans) if values.numel() else 0
    size = floats * values.element_size()
    pages = max(1, math.ceil(size / mmap.PAGESIZE)) * mmap.PAGESIZE
    start = _libc.mmap(None, pages + 2 * mmap.PAGESIZE, READ | WRITE, PRIVATE_ANONYMOUS, -1, 0)
    assert start not in (None, ctypes.c_void_p(-1).value), "no memory"
    begin = start + mmap.PAGESIZE
    place = begin + pages - size if at_end else begin
    buffer = (ctypes.c_char * max(size, 1)).from_address(place)
    weakref.finalize(buffer, _libc.munmap, start, pages + 2 * mmap.PAGESIZE).atexit = False
    flat = torch.frombuffer(buffer, dtype=values.dtype, count=floats) if floats else torch.empty(0, dtype=values.dtype)
    if floats:
        flat.copy_(values.flatten().repeat(1 + floats // values.numel())[:floats])
    tensor = flat.as_strided(values.shape, strides)
    for page in (start, begin + pages):
        assert _libc.mprotect(page, mmap.PAGESIZE, NO_ACCESS) == 0
    if not writable:
        assert _libc.mprotect(begin, pages, READ) == 0
    return tensor
