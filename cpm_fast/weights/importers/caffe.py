"""A reader of Caffe's .caffemodel files: learned arrays by layer name, from the mapped file, without Caffe."""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.weights.importers.wire import BYTES, FIXED32, FIXED64, VARINT, Field, WireError, WireReader, varints

# Field numbers of caffe.proto. NetParameter: layers of the first form (V1LayerParameter) and of the second.
NET_NAME, NET_LAYERS_V1, NET_LAYERS = 1, 2, 100
# Field numbers of a layer's name and blobs, per form.
LAYER_FIELDS = {NET_LAYERS_V1: (4, 6), NET_LAYERS: (1, 7)}
# BlobProto: the four sides of the first form, the shape of the second, and the numbers.
BLOB_SIDES = (1, 2, 3, 4)
BLOB_DATA, BLOB_SHAPE, BLOB_DOUBLE_DATA = 5, 7, 8
SHAPE_DIM = 1
# As Caffe's own limits.
MOST_AXES, LONGEST_AXIS = 32, 2**31 - 1

NUMBERS: dict[int, tuple[np.dtype[Any], int]] = {
    BLOB_DATA: (np.dtype("<f4"), FIXED32),
    BLOB_DOUBLE_DATA: (np.dtype("<f8"), FIXED64),
}


def read_caffemodel(path: str | Path) -> dict[str, list[np.ndarray]]:
    """Return the learned arrays of every layer that has any, by layer name.

    Both forms of layers and of shapes are read, packed and unpacked numbers of 32 and 64 bits. Arrays are read-only
    views of the mapped file if they are in one piece there: they take no memory until they are read.

    Returns:
        Layer name -> arrays in Caffe's order: of a convolution the weight [O, C, k, k] and the bias, [O] or
        [1, 1, 1, O].

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, cut short, or without learned layers; the message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        layers = _net(data)
    except (WireError, ValueError) as error:  # ValueError: an empty file can't be mapped
        raise ValueError(f"{path}: not a .caffemodel that can be read: {error}") from None
    if not layers:
        raise ValueError(f"{path}: not a .caffemodel that can be read: no layer in it has weights")
    return layers


def _net(data: memoryview) -> dict[str, list[np.ndarray]]:
    reader = WireReader()
    layers: dict[str, list[np.ndarray]] = {}
    for field in reader.fields(data):
        if field.number == NET_NAME:
            _bytes(field, "name of the network")
        if field.number not in LAYER_FIELDS:
            continue
        name, blobs = _layer(reader, _bytes(field, "layer"), *LAYER_FIELDS[field.number])
        if blobs and name in layers:
            raise WireError(f"two layers are called {name!r}")
        if blobs:
            layers[name] = blobs
    return layers


def _layer(reader: WireReader, data: memoryview, name_field: int, blobs_field: int) -> tuple[str, list[np.ndarray]]:
    name, blobs = "", []
    for field in reader.fields(data):
        if field.number == name_field:
            try:
                name = str(_bytes(field, "name of a layer"), "utf-8")
            except UnicodeDecodeError:
                raise WireError("the name of a layer is not text") from None
        elif field.number == blobs_field:
            blobs.append(_bytes(field, "blob"))
    try:
        return name, [_blob(reader, blob) for blob in blobs]
    except WireError as error:
        raise WireError(f"layer {name!r}: {error}") from None


def _blob(reader: WireReader, data: memoryview) -> np.ndarray:
    sides = dict.fromkeys(BLOB_SIDES, 0)
    shape: list[int] | None = None
    pieces: dict[int, list[np.ndarray]] = {number: [] for number in NUMBERS}
    for field in reader.fields(data):
        if field.number in sides:
            sides[field.number] = _number(field)
        elif field.number == BLOB_SHAPE:
            shape = _dims(reader, _bytes(field, "shape"))
        elif field.number in NUMBERS:
            dtype, kind = NUMBERS[field.number]
            if field.kind not in (kind, BYTES) or len(_content(field)) % dtype.itemsize:
                raise WireError(f"the numbers of field {field.number} are not {dtype.itemsize} bytes each")
            pieces[field.number].append(np.frombuffer(_content(field), dtype))
    found = pieces[BLOB_DOUBLE_DATA] or pieces[BLOB_DATA] or [np.zeros(0, np.float32)]
    values = found[0] if len(found) == 1 else np.concatenate(found)
    if shape is None:
        shape = list(sides.values()) if any(sides.values()) else [len(values)]
    if any(side > LONGEST_AXIS for side in shape) or math.prod(shape) != len(values):
        raise WireError(f"a blob of shape {shape} has {len(values)} numbers")
    return values.reshape(shape)


def _dims(reader: WireReader, data: memoryview) -> list[int]:
    dims: list[int] = []
    for field in reader.fields(data):
        if field.number == SHAPE_DIM:
            dims += [_number(field)] if field.kind == VARINT else varints(_bytes(field, "shape"), MOST_AXES)
        if len(dims) > MOST_AXES:
            raise WireError(f"a shape of more than {MOST_AXES} axes")
    return dims


def _number(field: Field) -> int:
    if not isinstance(field.value, int):
        raise WireError(f"field {field.number} of a shape must be a number")
    return field.value


def _content(field: Field) -> memoryview:
    if isinstance(field.value, int):
        raise WireError(f"field {field.number} must hold bytes, not a number")
    return field.value


def _bytes(field: Field, what: str) -> memoryview:
    """Return the content of a field that must be a message, a text or packed numbers."""
    if field.kind != BYTES:
        raise WireError(f"a {what} must be a field of bytes, not of wire type {field.kind}")
    return _content(field)
