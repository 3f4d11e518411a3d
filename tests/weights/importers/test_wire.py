"""Protocol buffers: every wire type, their limits, and errors for all else."""

import struct
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpm_fast.weights.importers.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    MOST_FIELDS,
    VARINT,
    WireError,
    WireReader,
    varint,
    varints,
)
from support import caffe_file


def fields(data: bytes, most: int = MOST_FIELDS) -> list[tuple[int, int, int | bytes]]:
    found = WireReader(most).fields(memoryview(data))
    return [
        (field.number, field.kind, field.value if isinstance(field.value, int) else bytes(field.value))
        for field in found
    ]


def test_the_specification_s_own_examples():
    assert fields(b"\x08\x96\x01") == [(1, VARINT, 150)]
    assert fields(b"\x12\x07testing") == [(2, BYTES, b"testing")]
    assert fields(b"\x1a\x03\x08\x96\x01") == [(3, BYTES, b"\x08\x96\x01")]
    assert varints(memoryview(b"\x03\x8e\x02\x9e\xa7\x05"), 3) == [3, 270, 86942]


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
def test_varints_survive(value, behind):
    data = caffe_file.varint(value)
    assert varint(memoryview(data + behind), 0) == (value, len(data))


def test_messages_of_every_kind():
    data = caffe_file.number(7, 2**64 - 1) + caffe_file.content(2**29 - 1, b"") + caffe_file.number(7, 0)
    assert fields(data) == [(7, VARINT, 2**64 - 1), (2**29 - 1, BYTES, b""), (7, VARINT, 0)]


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 40), st.booleans()), max_size=6))
def test_unpacked_numbers_come_in_runs(runs):
    """Neighbors under one tag are one field, with tags of one byte and of two."""
    data, wanted = b"", []
    for number, count, wide in runs:
        values = np.arange(count, dtype=np.float64 if wide else np.float32) + number
        data += caffe_file.unpacked(number, values)
        kind = FIXED64 if wide else FIXED32
        if wanted and wanted[-1][:2] == (number, kind):
            wanted[-1] = (number, kind, wanted[-1][2] + values.tobytes())
        else:
            wanted.append((number, kind, values.tobytes()))
    assert fields(data) == wanted


DAMAGED_FIELDS = {
    "cut number": (b"\x08", "byte 1: a number that doesn't end"),
    "endless number": (b"\x08" + b"\xff" * 20, "byte 1: a number that doesn't end"),
    "65 bits": (b"\x08" + b"\xff" * 9 + b"\x02", "byte 1: a number that doesn't end"),
    "field 0": (b"\x00\x01", "byte 0: there is no field 0"),
    "a field too far": (b"\xff\xff\xff\xff\xff\x01\x00", "byte 0: there is no field"),
    "group": (b"\x0b", "field 1 has the wire type 3"),
    "end of group": (b"\x0c", "field 1 has the wire type 4"),
    "type 6": (b"\x0e", "field 1 has the wire type 6"),
    "cut bytes": (b"\x12\x05test", "byte 0: field 2 claims 5 bytes, 4 are left"),
    "2 GB": (b"\x12\x80\x80\x80\x80\x08", "field 2 claims 2147483648 bytes, 0 are left"),
    "cut float": (b"\x0d\x00\x00\x00", "a number of 4 bytes, 3 are left"),
    "cut second float": (b"\x0d" + bytes(4) + b"\x0d\x00", "a number of 4 bytes, 1 are left"),
    "cut double": (b"\x09" + bytes(7), "a number of 8 bytes, 7 are left"),
}


@pytest.mark.parametrize(("data", "message"), DAMAGED_FIELDS.values(), ids=DAMAGED_FIELDS)
def test_rejects(data, message):
    with pytest.raises(WireError, match=message):
        fields(data)


def test_packed_numbers_are_limited():
    with pytest.raises(WireError, match="more than 3 numbers"):
        varints(memoryview(bytes(4)), 3)


@pytest.mark.parametrize(
    "pattern",
    [b"\x18\x00", b"\x0d" + bytes(4) + b"\x15" + bytes(4), b"\x1a\x00"],
    ids=["numbers", "short runs", "empty fields"],
)
def test_a_file_of_nothing_but_small_fields_is_given_up(pattern):
    data = memoryview(pattern * (10**6 // len(pattern)))
    started = time.process_time()
    with pytest.raises(WireError, match=f"more than {MOST_FIELDS} fields"):
        for _ in WireReader().fields(data):
            pass
    assert time.process_time() - started < 2  # 0.1 to 0.4 s when it was written
    tracemalloc.start()
    with pytest.raises(WireError, match="more than 100 fields"):
        for _ in WireReader(100).fields(data):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**5


@given(st.binary(max_size=400))
def test_random_bytes_are_read_or_refused(data):
    try:
        found = fields(data)
    except WireError:
        return
    assert sum(len(value) if isinstance(value, bytes) else 1 for _, _, value in found) <= len(data)


def test_floats_keep_their_bits():
    values = np.array([0.1, -np.inf, np.nan, 1e-45], np.float32)
    ((_, _, data),) = fields(caffe_file.unpacked(5, values))
    assert data == values.tobytes() == struct.pack("<4f", *values)
