"""The only door from tensors to addresses: native code gets no pointer that it may not follow.

A tensor's `data_ptr` is a number whatever the tensor is. Tensors of a trace or a functional transform, negative views,
the zero tensors of forward-mode differentiation and tensors whose storage has been released have no memory that holds
their values; PyTorch's dispatcher resolves some of them before an op's kernel runs, and the rest is refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import torch

_KEYS = torch._C.DispatchKey
# By key of the dispatcher, the tensors whose memory does not hold their values.
FOREIGN = {
    _KEYS.Python: "a tensor of a trace or of a mode of its own",
    _KEYS.Functionalize: "a tensor under functionalization",
    _KEYS.FuncTorchBatched: "a tensor under vmap",
    _KEYS.FuncTorchGradWrapper: "a tensor under a functional gradient",
    _KEYS.Negative: "a negative view",
    _KEYS.Conjugate: "a conjugate view",
    _KEYS.ZeroTensor: "a zero tensor without memory",
}
_FOREIGN = torch._C.DispatchKeySet(_KEYS.Python)
for _key in FOREIGN:
    _FOREIGN = _FOREIGN | torch._C.DispatchKeySet(_key)


# Sets of keys, as numbers, of tensors that `check_memory` has accepted: layout and device are among a tensor's keys.
_sound: set[int] = set()


def address(name: str, tensor: torch.Tensor) -> int:
    """Return the address of a tensor's first value, for native code that reads or writes all of the tensor.

    Raises:
        RuntimeError: no memory, or less than the sizes and strides span, holds the tensor's values.
    """
    if not _is_sound(tensor):
        check_memory(name, tensor)
    return tensor.data_ptr()


def optional_address(name: str, tensor: torch.Tensor | None) -> int:
    """Return the `address` of a tensor; 0 if there is none."""
    return 0 if tensor is None else address(name, tensor)


def check_memory(name: str, tensor: torch.Tensor) -> None:
    """Raise what `address` raises."""
    if tensor.layout != torch.strided:
        raise RuntimeError(f"{name} must be a dense tensor, got layout {tensor.layout}; pass {name}.to_dense()")
    foreign = foreign_kind(tensor)
    if foreign is not None:
        raise RuntimeError(f"{name} must be a tensor with memory of its own, got {foreign}")
    needed, there = span_bytes(tensor), tensor.untyped_storage().nbytes()
    if needed > there:
        raise RuntimeError(f"{name} must have its memory of {needed} bytes, got a storage of {there}: it was released")
    _sound.add(torch._C._dispatch_keys(tensor).raw_repr())


def _is_sound(tensor: torch.Tensor) -> bool:
    """Return whether `check_memory` accepts a tensor, False also where that takes a closer look.

    A training step asks for 500 tensors: in one function without names of errors, that takes a third of the time.
    """
    if torch._C._dispatch_keys(tensor).raw_repr() not in _sound:
        return False
    if not (tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)):
        return False
    needed = int(tensor.storage_offset() + tensor.numel()) * tensor.itemsize
    return needed <= tensor.untyped_storage().nbytes()


def check_storage(**tensors: torch.Tensor | None) -> None:
    """Raise RuntimeError if a tensor's storage was released or cut, which PyTorch's own copies don't notice.

    Tensors without memory of their own pass: the dispatcher handles them.
    """
    if torch.compiler.is_compiling():
        return
    for name, tensor in tensors.items():
        if tensor is None or _is_sound(tensor):
            continue
        if tensor.layout == torch.strided and foreign_kind(tensor) is None:
            check_memory(name, tensor)


def foreign_kind(tensor: torch.Tensor) -> str | None:
    """Name the kind of a tensor whose memory does not hold its values; None for a plain one."""
    keys = torch._C._dispatch_keys(tensor) & _FOREIGN
    if keys.raw_repr() == 0:
        return "a meta tensor" if tensor.device.type == "meta" else None
    return next(kind for key, kind in FOREIGN.items() if keys.has(key))


def span_bytes(tensor: torch.Tensor) -> int:
    """Return the bytes of the storage up to the end of the tensor's last value; 0 if it has none."""
    if not tensor.numel():
        return 0
    if tensor.is_contiguous():
        last = tensor.numel() - 1
    else:
        last = sum((side - 1) * step for side, step in zip(tensor.shape, tensor.stride(), strict=True))
    return int(tensor.storage_offset() + last + 1) * tensor.element_size()


def address_range(tensor: torch.Tensor) -> tuple[int, int]:
    """Return the addresses between which a tensor's values lie, (first, past the last)."""
    begin = tensor.data_ptr()
    before = int(tensor.storage_offset()) * tensor.element_size() if tensor.numel() else 0
    return begin, begin + span_bytes(tensor) - before


_form = attrgetter("shape", "dtype", "device")
_plain = torch._C.TensorBase


# `check_memory` says the same of the same tensors as long as their places and forms are equal. These are quicker, for
# the weights, which an engine checks at every call.


def places_of(
    tensors: Sequence[torch.Tensor], storages: Sequence[torch.UntypedStorage]
) -> tuple[tuple[object, ...], ...]:
    """Return addresses of tensors and sizes of storages.

    Args:
        tensors: that `check_memory` accepts.
        storages: of the tensors when they were first asked. As long as these live, another storage has other addresses.
    """
    return tuple(map(_plain.data_ptr, tensors)), tuple(map(torch.UntypedStorage.nbytes, storages))


def forms_of(tensors: Sequence[torch.Tensor]) -> tuple[tuple[object, ...], ...]:
    """Return shapes, types, devices, strides and kinds of tensors that `check_memory` accepts."""
    return (
        tuple(map(_form, tensors)),
        tuple(map(_plain.stride, tensors)),
        tuple(map(type, tensors)),
        tuple(map(_plain.is_neg, tensors)),
    )


# (name, storage, bytes that a tensor needs of it) of tensors whose memory is checked again at every call.
Storages = tuple[tuple[str, torch.UntypedStorage, int], ...]


def storages_of(tensors: dict[str, torch.Tensor]) -> Storages:
    """Return the storages of these tensors for `check_storages`."""
    return tuple((name, tensor.untyped_storage(), span_bytes(tensor)) for name, tensor in tensors.items())


def check_storages(storages: Storages) -> None:
    """Raise RuntimeError if memory has been released since."""
    for name, storage, needed in storages:
        if storage.nbytes() < needed:
            raise RuntimeError(
                f"{name} must have its memory of {needed} bytes, got {storage.nbytes()}: it was released"
            )
