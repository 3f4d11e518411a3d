"""Writes .caffemodel files from the format's definition: protocol buffers and the field numbers of caffe.proto."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np


def varint(value: int) -> bytes:
    value &= 2**64 - 1  # negative numbers are sent as 64 bits
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def content(field: int, data: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(data)) + data


def unpacked(field: int, values: np.ndarray) -> bytes:
    tag = varint(field << 3 | (5 if values.itemsize == 4 else 1))
    return b"".join(tag + value.tobytes() for value in values.ravel())


def blob(values: np.ndarray, *, legacy: bool = False, packed: bool = True) -> bytes:
    """Return a BlobProto: num, channels, height, width (1 to 4) or shape (7); data (5) or double_data (8)."""
    if legacy:
        sides = (*(1,) * (4 - values.ndim), *values.shape)
        shape = b"".join(number(field, side) for field, side in zip((1, 2, 3, 4), sides, strict=True))
    elif packed:
        shape = content(7, content(1, b"".join(varint(side) for side in values.shape)))
    else:
        shape = content(7, b"".join(number(1, side) for side in values.shape))
    field = 8 if values.dtype == np.float64 else 5
    return shape + (content(field, values.tobytes()) if packed else unpacked(field, values))


def layer(name: str, blobs: Iterable[bytes], *, first_form: bool = False) -> bytes:
    """Return a layer of NetParameter: V1LayerParameter in field 2, LayerParameter in field 100."""
    if first_form:
        convolution = number(5, 4)
        return content(2, content(4, name.encode()) + convolution + b"".join(content(6, data) for data in blobs))
    kind = content(2, b"Convolution")
    return content(100, content(1, name.encode()) + kind + b"".join(content(7, data) for data in blobs))


def net(layers: Mapping[str, Iterable[np.ndarray]], *, first_form: bool = False, **form: bool) -> bytes:
    """Return a NetParameter with a name, an input, a layer without weights, and these layers."""
    relu = layer("relu", (), first_form=first_form)
    learned = (
        layer(name, [blob(array, **form) for array in arrays], first_form=first_form) for name, arrays in layers.items()
    )
    return content(1, b"net") + content(3, b"data") + relu + b"".join(learned)
