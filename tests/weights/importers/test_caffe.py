"""The reader of Caffe files: every form of layer, shape and number, and damaged ones."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpm_fast.weights.importers.caffe import read_caffemodel
from cpm_fast.weights.importers.caffe_layouts import map_caffe
from support import caffe_file

FORMS = {
    "as Caffe writes now": {},
    "first form": {"first_form": True, "legacy": True},
    "unpacked": {"packed": False},
    "first form, unpacked": {"first_form": True, "legacy": True, "packed": False},
}
FEW = {
    "conv1": [np.arange(2 * 3 * 3 * 3, dtype=np.float32).reshape(2, 3, 3, 3), np.array([0.5, -1], np.float32)],
    "conv2": [np.full((1, 2, 1, 1), np.pi), np.array([2.0])],
}


def write(path, data: bytes):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same(tmp_path, form):
    found = read_caffemodel(write(tmp_path / "net.caffemodel", caffe_file.net(FEW, **form)))
    assert found.keys() == FEW.keys()
    for name, arrays in FEW.items():
        for array, wanted in zip(found[name], arrays, strict=True):
            assert array.dtype == wanted.dtype and np.array_equal(array.reshape(wanted.shape), wanted)
            assert array.ndim == (4 if form.get("legacy") else wanted.ndim)


def test_numbers_in_several_pieces_are_put_together(tmp_path):
    values = np.arange(6, dtype=np.float32)
    pieces = caffe_file.content(5, values[:2].tobytes()) + caffe_file.unpacked(5, values[2:5])
    shape = caffe_file.content(7, caffe_file.number(1, 2) + caffe_file.number(1, 3))
    data = pieces + shape + caffe_file.content(5, values[5:].tobytes())
    found = read_caffemodel(write(tmp_path / "net.caffemodel", caffe_file.layer("conv", [data])))
    assert np.array_equal(found["conv"][0], values.reshape(2, 3))


LAYER = "layer 'conv': "


def conv(blob: bytes) -> bytes:
    """Return a layer named conv with one blob."""
    return caffe_file.layer("conv", [blob])


DAMAGED_FILES = {
    "empty": (b"", "empty file"),
    "only a name": (b"\x0a\x03net", "no layer in it has weights"),
    "no blobs": (caffe_file.layer("relu", []), "no layer in it has weights"),
    "name of a number": (caffe_file.number(1, 3), "name of the network must be a field of bytes"),
    "layer of a number": (caffe_file.number(100, 3), "a layer must be a field of bytes, not of wire type 0"),
    "not text": (caffe_file.content(100, caffe_file.content(1, b"\xff")), "the name of a layer is not text"),
    "twice": (conv(caffe_file.blob(np.zeros(2, np.float32))) * 2, "two layers are called 'conv'"),
    "fewer numbers": (conv(caffe_file.content(7, caffe_file.number(1, 3))), r"shape \[3\] has 0 numbers"),
    "endless side": (conv(caffe_file.number(1, 2**31)), LAYER + "a blob of shape .* has 0 numbers"),
    "negative side": (conv(caffe_file.number(1, -1)), LAYER + "a blob of shape .*18446744073709551615"),
    "3 bytes": (conv(caffe_file.content(5, b"abc")), LAYER + "the numbers of field 5 are not 4 bytes"),
    "number for floats": (conv(caffe_file.number(5, 1)), LAYER + "the numbers of field 5 are not 4 bytes"),
    "doubles for floats": (conv(caffe_file.unpacked(5, np.zeros(2))), LAYER + "the numbers of field 5"),
    "number for shape": (conv(caffe_file.number(7, 1)), LAYER + "a shape must be a field of bytes"),
    "many axes": (conv(caffe_file.content(7, caffe_file.content(1, bytes(99)))), "more than 32 numbers"),
    "many axes unpacked": (conv(caffe_file.content(7, caffe_file.number(1, 1) * 99)), "more than 32 axes"),
    "bytes for a side": (conv(caffe_file.content(1, b"")), LAYER + "field 1 of a shape must be a number"),
    "an archive": (b"PK\x03\x04" + bytes(100), "not a .caffemodel that can be read"),
}


@pytest.mark.parametrize(("data", "message"), DAMAGED_FILES.values(), ids=DAMAGED_FILES)
def test_damage_is_named(tmp_path, data, message):
    with pytest.raises(ValueError, match=rf"net.caffemodel: not a .caffemodel that can be read: .*{message}|{message}"):
        read_caffemodel(write(tmp_path / "net.caffemodel", data))


def hostile_files() -> dict[str, bytes]:
    claim = caffe_file.varint(2**31)
    big = caffe_file.varint(100 << 3 | 2)
    return {
        "a layer of 2 GB": big + claim,
        "a blob of 2 GB": caffe_file.content(
            100, caffe_file.content(1, b"conv") + caffe_file.varint(7 << 3 | 2) + claim
        ),
        "a shape of 2 GB": caffe_file.layer("conv", [caffe_file.content(7, caffe_file.number(1, 2**29))]),
        "random": np.random.default_rng(0).bytes(2**20),
        "zeros": bytes(2**20),
        "cut": caffe_file.net(FEW)[:-3],
    }


@pytest.mark.parametrize("name", hostile_files())
def test_hostile_files_end_soon_and_take_no_memory(tmp_path, name):
    path = write(tmp_path / "net.caffemodel", hostile_files()[name])
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(ValueError, match=r"net.caffemodel: not a .caffemodel that can be read"):
        read_caffemodel(path)
    seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 1 and peak < 2**20


def test_a_sparse_file_of_2_gb(tmp_path):
    with (tmp_path / "net.caffemodel").open("wb") as file:
        file.write(caffe_file.varint(100 << 3 | 2) + caffe_file.varint(2**31 - 20))
        file.truncate(2**31)
    started = time.process_time()
    with pytest.raises(ValueError, match="there is no field 0"):
        read_caffemodel(tmp_path / "net.caffemodel")
    assert time.process_time() - started < 1


VALID = [caffe_file.net(FEW, **form) for form in FORMS.values()]


@given(data=st.data())
def test_damaged_files_are_read_or_refused(tmp_path_factory, data):
    """Random bytes, truncations and flipped bits."""
    content = bytearray(data.draw(st.sampled_from([*VALID, data.draw(st.binary(max_size=200))])))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    for bit in data.draw(st.lists(st.integers(0, max(8 * len(content) - 1, 0)), max_size=3)):
        if content:
            content[bit // 8] ^= 1 << bit % 8
    path = write(tmp_path_factory.mktemp("damaged") / "net.caffemodel", content)
    try:
        found = read_caffemodel(path)
    except ValueError as error:
        assert "net.caffemodel: not a .caffemodel" in str(error)
        return
    assert sum(array.nbytes for arrays in found.values() for array in arrays) <= len(content)
    with pytest.raises(ValueError, match="its layers are of no network known here"):
        map_caffe(found)
