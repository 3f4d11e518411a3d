"""Readers of datasets against damaged and hostile files: a quick ValueError that names the file, and little memory."""

import json
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cpm_fast.data.formats.annotation_set import AnnotationSet
from cpm_fast.data.formats.coco import CocoKeypoints
from cpm_fast.data.formats.deeplabcut import DeepLabCut
from cpm_fast.data.formats.flic import FramesInCinema
from cpm_fast.data.formats.lsp import LeedsSports
from cpm_fast.data.formats.mpii import MpiiJson, MpiiRelease
from cpm_fast.data.formats.table import PartsTable
from support import frames
from support.matlab import structs

SECONDS, BYTES = 2.0, 1 << 26
EXAMPLES = 40
EXTREMES = [b"\x00", b"\xff", b"\x7f", b"\xff\xff\xff\x7f", b"\xff" * 8]


def mpii(path, compressed):
    from scipy.io import savemat

    points = structs(*({"id": part, "x": 5.0 * part, "y": 7.0, "is_visible": "1"} for part in range(16)))
    person = {
        "annopoints": {"point": points},
        "scale": 1.0,
        "objpos": {"x": 9, "y": 9},
        "x1": 1,
        "y1": 1,
        "x2": 5,
        "y2": 5,
    }
    annolist = structs(
        *({"image": {"name": f"{place}.jpg"}, "annorect": structs(person, person)} for place in range(2))
    )
    savemat(path, {"RELEASE": {"annolist": annolist, "img_train": np.ones((1, 2))}}, do_compression=compressed)


def flic(path, compressed):
    from scipy.io import savemat

    coords = np.arange(58.0).reshape(2, 29)
    entry = {"filepath": "a.jpg", "coords": coords, "torsobox": [1.0, 2, 30, 40], "istest": 1}
    savemat(path, {"examples": structs(entry, entry)}, do_compression=compressed)


def lsp(path, compressed):
    from scipy.io import savemat

    (path.parent / "images").mkdir(exist_ok=True)
    savemat(path, {"joints": np.random.default_rng(0).uniform(0, 90, (3, 14, 4))}, do_compression=compressed)


def annotation_set(path, chunked):
    import h5py

    with h5py.File(path, "w") as file:
        more = {"chunks": True, "compression": "gzip"} if chunked else {}
        file.create_dataset("images", data=np.zeros((3, 16, 16, 1), np.uint8), **more)
        file.create_dataset("annotations", data=np.ones((3, 4, 2)), **more)
        file["skeleton"] = np.full((4, 2), -1)
        file["annotated"] = np.ones((3, 4), bool)


COLUMNS = [("me", part, axis) for part in ("nose", "tail") for axis in "xy"]


def labels(path, table):
    (frames.write_table if table else frames.write_fixed)(path, [("a.png",), ("b.png",)], COLUMNS, np.ones((2, 4)))


def text(content):
    return lambda path, _: path.write_text(content)


POINTS = [[1.0 + part, 2.0 * part] for part in range(16)]
PEOPLE = [{"image": "a.png", "center": [9, 9], "scale": 1.5, "joints": POINTS, "joints_vis": [1] * 16}] * 2
CATS = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "categories": [{"id": 1, "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}],
    "annotations": [{"id": 1, "image_id": 1, "keypoints": [1, 2, 2, 3, 4, 1], "bbox": [0, 0, 5, 5], "area": 9.5}],
}
BINARY = (mpii, flic, lsp, annotation_set, labels)
READERS = {
    "mpii": ("a.mat", mpii, MpiiRelease),
    "flic": ("examples.mat", flic, lambda path: FramesInCinema(path.parent)),
    "lsp": ("joints.mat", lsp, lambda path: LeedsSports(path.parent)),
    "annotation set": ("a.h5", annotation_set, AnnotationSet),
    "labels in h5": ("a.h5", labels, DeepLabCut),
    "labels in csv": ("a.csv", text("scorer,a,a,a,a\nbodyparts,b,b,c,c\ncoords,x,y,x,y\na.png,1,2,3,4\n"), DeepLabCut),
    "mpii in json": ("a.json", text(json.dumps(PEOPLE)), MpiiJson),
    "coco": ("a.json", text(json.dumps(CATS)), CocoKeypoints),
    "csv": ("a.csv", text("image,left,top,right,bottom,b_x,b_y\na.png,1,2,3,4,5,6\n"), PartsTable),
}


# libhdf5 itself crashes on a few damages, and took the whole test run along once: so the package reads such files in
# another process first, and here, where that is skipped, the damages are the same every time.
SAME_EVERY_TIME = {"derandomize": True, "suppress_health_check": [HealthCheck.function_scoped_fixture]}

FORMS = [(name, packed) for name, (_, write, _) in READERS.items() for packed in (False, True)[: 1 + (write in BINARY)]]


@pytest.fixture(autouse=True)
def unprobed(monkeypatch):
    """Skip the process that reads an HDF5 file first, which takes half a second each; `test_pandas_hdf5` tests it."""
    monkeypatch.setattr("cpm_fast.data.files.hdf5._probe_once", lambda *_: None)


@pytest.fixture(params=FORMS, ids=[f"{name}, {'packed' if packed else 'plain'}" for name, packed in FORMS])
def reader(request, tmp_path):
    """Return the path and bytes of a valid file, and its reader."""
    name, packed = request.param
    file, write, read = READERS[name]
    for needed in ("scipy", "h5py"):
        pytest.importorskip(needed, reason=f"needs {needed}")
    write(tmp_path / file, packed)
    assert len(read(tmp_path / file))
    return tmp_path / file, (tmp_path / file).read_bytes(), read


def refuses_or_reads(path, data, read):
    """Return whether it was read; fail on any error but ours, on a long wait and on much memory."""
    path.write_bytes(data)
    tracemalloc.start()
    started = time.perf_counter()
    try:
        dataset = read(path)
        return len(dataset) > 0
    except ValueError as error:
        assert path.name in str(error)
        return False
    finally:
        taken, (_, most) = time.perf_counter() - started, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert taken < SECONDS and most < BYTES, (taken, most)


@settings(max_examples=EXAMPLES, **SAME_EVERY_TIME)
@given(data=st.data())
def test_changed_bytes(reader, data):
    """Some bytes change anywhere, often to the extreme values that occur in sizes."""
    path, fine, read = reader
    changed = bytearray(fine)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(fine) - 1))
        piece = data.draw(
            st.sampled_from([b"\x00", b"\xff", b"\x7f", b"\xff\xff\xff\x7f", b"\xff" * 8]) | st.binary(max_size=4)
        )
        changed[at : at + len(piece)] = piece
    refuses_or_reads(path, bytes(changed), read)


@settings(max_examples=EXAMPLES // 2, **SAME_EVERY_TIME)
@given(data=st.data())
def test_cut_short(reader, data):
    path, fine, read = reader
    refuses_or_reads(path, fine[: data.draw(st.integers(0, len(fine) - 1))], read)


@settings(max_examples=EXAMPLES // 2, **SAME_EVERY_TIME)
@given(noise=st.binary(max_size=400), kept=st.integers(0, 600))
def test_noise_behind_a_fine_beginning(reader, noise, kept):
    path, fine, read = reader
    refuses_or_reads(path, fine[:kept] + noise, read)


def matlab_cell(count):
    """Return a MATLAB file whose variable RELEASE is a cell that claims this many elements and has none."""

    def element(kind, data):
        return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)

    inside = element(6, struct.pack("<II", 1, 0)) + element(5, struct.pack("<ii", 1, count)) + element(1, b"RELEASE")
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM" + element(14, inside)


def packed(matlab):
    content = zlib.compress(matlab[128:])
    return matlab[:128] + struct.pack("<II", 15, len(content)) + content


BOMB = matlab_cell(1)[:128] + struct.pack("<II", 14, 1 << 28) + bytes(1 << 28)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (matlab_cell(1 << 30), "claims 1073741824 elements of 1 fields in 0 bytes"),
        (packed(matlab_cell(1 << 30)), "claims 1073741824 elements of 1 fields in 0 bytes"),
        (packed(BOMB), r"\d+ bytes claim to be more than \d+"),
        (b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n", r"it is of v7\.3; save it again with -v7"),
    ],
    ids=["many elements", "many elements, packed", "zeros by the hundred million", "v7.3"],
)
def test_matlab_claims(tmp_path, content, message):
    path = tmp_path / "a.mat"
    assert not refuses_or_reads(path, content, MpiiRelease)
    with pytest.raises(ValueError, match=rf"a\.mat: not a MATLAB file that can be read: .*{message}"):
        MpiiRelease(path)
