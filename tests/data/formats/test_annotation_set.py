"""Pictures and points in one HDF5 file: labeled points, the source of names and pairs, refused files."""

import numpy as np
import pytest

from cpm_fast.data.formats.annotation_set import AnnotationSet
from cpm_fast.roi import Roi

h5py = pytest.importorskip("h5py", reason="needs h5py")

COUNT, PARTS = 4, 3
TREE = np.array([[-1, -1], [0, 2], [0, 1]], np.int32)


def arrays(**changes):
    """Return frames: frame m has gray 10 m, and part p is at (m + 1, 10 p + m + 1)."""
    frame, part = np.mgrid[:COUNT, :PARTS]
    fields = {
        "images": np.full((COUNT, 20, 30, 1), np.arange(COUNT).reshape(-1, 1, 1, 1) * 10, np.uint8),
        "annotations": np.stack([frame + 1.0, 10.0 * part + frame + 1], axis=2),
        "annotated": np.zeros((COUNT, PARTS), bool),
        "skeleton": TREE,
    }
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}


def write(folder, **changes):
    path = folder / "flies.h5"
    with h5py.File(path, "w") as file:
        for name, value in arrays(**changes).items():
            file[name] = value
    return path


def test_frames_become_samples(tmp_path):
    dataset = AnnotationSet(write(tmp_path))
    assert (dataset.name, len(dataset), dataset.skeleton.names) == ("flies", 4, ("part_0", "part_1", "part_2"))
    assert dataset.skeleton.limbs == (("part_0", "part_1"), ("part_0", "part_2"))
    assert dataset.skeleton.pairs == (("part_1", "part_2"),)
    sample = dataset[2]
    assert sample.parts_image.tolist() == [[3, 3], [3, 13], [3, 23]] and sample.labeled.all()
    assert sample.image.shape == (20, 30, 3) and (sample.image == 20).all()
    assert sample.roi == Roi((14.5, 9.5), 37.5)  # the whole picture
    assert sample.name == "flies.h5 images[2]"


def test_only_what_a_person_confirmed_counts(tmp_path):
    confirmed = np.zeros((COUNT, PARTS), bool)
    confirmed[1], confirmed[3, 2] = True, True
    dataset = AnnotationSet(write(tmp_path, annotated=confirmed))
    assert [sample.name for sample in map(dataset.__getitem__, range(len(dataset)))] == [
        "flies.h5 images[1]",
        "flies.h5 images[3]",
    ]
    assert dataset[1].labeled.tolist() == [False, False, True]
    assert np.isnan(dataset[1].parts_image[0]).all()


def test_without_any_word_of_a_person_all_count_but_the_beginnings(tmp_path):
    points = arrays()["annotations"]
    points[0], points[1, 1], points[2, 0] = 0, np.nan, (0, 5)
    dataset = AnnotationSet(write(tmp_path, annotations=points, annotated=None))
    assert dataset.frames.tolist() == [1, 2, 3]
    assert dataset.labeled.tolist() == [[True, False, True], [True] * 3, [True] * 3]


def test_colored_pictures(tmp_path):
    images = np.zeros((COUNT, 20, 30, 3), np.uint8)
    images[..., 0] = 200
    assert AnnotationSet(write(tmp_path, images=images))[0].image[0, 0].tolist() == [200, 0, 0]


def test_where_two_parts_disagree_the_first_counts(tmp_path):
    """Part 0 names 1, part 1 names 2, part 2 names none."""
    tree = np.array([[-1, 1], [0, 2], [0, -1]])
    assert AnnotationSet(write(tmp_path, skeleton=tree)).skeleton.pairs == (("part_0", "part_1"),)
    # A part that names itself as its partner has no partner.
    itself = np.array([[-1, 0], [0, 2], [0, 1]])
    assert AnnotationSet(write(tmp_path, skeleton=itself)).skeleton.pairs == (("part_1", "part_2"),)


def test_without_a_tree_parts_stand_alone(tmp_path):
    skeleton = AnnotationSet(write(tmp_path, skeleton=None)).skeleton
    assert (skeleton.limbs, skeleton.pairs) == ((), ())


def test_a_skeleton_file_names_the_parts(tmp_path):
    (tmp_path / "skeleton.toml").write_text(
        'names = ["head", "left_eye", "right_eye"]\nlimbs = [["head", "left_eye"]]\n'
    )
    dataset = AnnotationSet(write(tmp_path))
    assert dataset.skeleton.names == ("head", "left_eye", "right_eye") and dataset.skeleton.mirror == (0, 2, 1)
    assert dataset[0].parts_image.tolist() == [[1, 1], [1, 11], [1, 21]]
    (tmp_path / "skeleton.toml").write_text('names = ["head"]\n')
    with pytest.raises(ValueError, match=r"flies\.h5: .*skeleton\.toml must name the 3 parts of the file, got 1"):
        AnnotationSet(tmp_path / "flies.h5")


MISTAKES = {
    "no pictures": ({"images": None}, "must hold the array images, got"),
    "two channels": ({"images": np.zeros((4, 20, 30, 2), np.uint8)}, r"images must be \[M, H, W, 1 or 3\] uint8"),
    "16 bits": ({"images": np.zeros((4, 20, 30, 1), np.uint16)}, r"images must be .*uint16"),
    "no channels": ({"images": np.zeros((4, 20, 30), np.uint8)}, "images must have 4 axes"),
    "no height": ({"images": np.zeros((4, 0, 30, 1), np.uint8)}, r"images must be .*\[4, 0, 30, 1\]"),
    "few frames": ({"annotations": np.zeros((3, 3, 2))}, r"annotations must be \[4, P, 2\], got \[3, 3, 2\]"),
    "x alone": ({"annotations": np.zeros((4, 3, 1))}, r"annotations must be \[4, P, 2\], got \[4, 3, 1\]"),
    "nothing known": ({"annotations": np.zeros((4, 3, 2))}, "must hold annotated points, got none in 4 pictures"),
    "texts": ({"annotations": np.full((4, 3, 2), b"x")}, "annotations must have 3 axes of type iuf"),
    "few flags": ({"annotated": np.zeros((4, 2), bool)}, r"annotated must be \[4, 3\], got \[4, 2\]"),
    "small tree": ({"skeleton": TREE[:2]}, r"skeleton must be \[3, 2\] places of parts or -1"),
    "far branches": ({"skeleton": TREE + 2}, r"skeleton must be \[3, 2\] places of parts or -1"),
    "its own parent": ({"skeleton": np.array([[0, -1], [0, 2], [0, 1]])}, "limbs must join two of its parts"),
}


@pytest.mark.parametrize(("changes", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=rf"flies\.h5: .*{message}"):
        AnnotationSet(write(tmp_path, **changes))


def test_a_size_that_is_only_claimed_costs_nothing(tmp_path):
    path = write(tmp_path, annotations=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("annotations", (4, 1 << 40, 2), "f8", chunks=(1, 1024, 2))
    with pytest.raises(ValueError, match=r"flies\.h5: annotations claims \d+ bytes, but 0 are stored"):
        AnnotationSet(path)


def test_other_files_are_not_reached_for(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = arrays()["images"]
    path = write(tmp_path, images=None)
    with h5py.File(path, "a") as file:
        layout = h5py.VirtualLayout((COUNT, 20, 30, 1), "u1")
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "secret", (COUNT, 20, 30, 1))
        file.create_virtual_dataset("images", layout)
    with pytest.raises(ValueError, match="images must be stored in the file itself"):
        AnnotationSet(path)


@pytest.mark.parametrize(
    "content", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n" + bytes(200)], ids=["empty", "text", "torn"]
)
def test_not_such_a_file(tmp_path, content):
    (tmp_path / "flies.h5").write_bytes(content)
    with pytest.raises(ValueError, match=r"flies\.h5: "):
        AnnotationSet(tmp_path / "flies.h5")
    with pytest.raises(FileNotFoundError, match="no such file"):
        AnnotationSet(tmp_path / "gone.h5")


@pytest.mark.data
def test_real_file(data_dir):
    dataset = AnnotationSet(data_dir / "fly" / "example_annotation_set.h5")
    assert (len(dataset), len(dataset.skeleton), len(dataset.skeleton.limbs)) == (100, 32, 25)
    assert dataset.labeled.all()
    # These are from the file: the first and the last point of the first picture.
    sample = dataset[0]
    assert sample.image.shape == (192, 192, 3)
    assert sample.parts_image[[0, 31]] == pytest.approx(np.array([[145.44, 91.28], [24.32, 120.24]]), abs=1e-5)
    pairs = dataset.skeleton.pairs
    assert len(pairs) == 14 and ("part_11", "part_23") in pairs and ("part_30", "part_31") in pairs
    # The subject is brighter than its surroundings under almost every point.
    bright = [
        float(s.image[y, x, 0])
        for s in map(dataset.__getitem__, range(0, 100, 10))
        for x, y in s.parts_image.round().astype(int)
    ]
    assert np.mean(np.array(bright) > 20) > 0.9
