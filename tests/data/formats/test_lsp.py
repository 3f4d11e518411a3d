"""Leeds Sports Poses: two layouts of joints.mat, two meanings of its flags."""

import cv2
import numpy as np
import pytest

from cpm_fast.data.formats.lsp import FILE_ORDER, LeedsSports
from cpm_fast.skeleton import LSP

savemat = pytest.importorskip("scipy.io", reason="needs scipy").savemat

COUNT = 3


def file_joints() -> np.ndarray:
    """[14, 3, M] in file order: joint j of sample m at x = 10 j + m + 1, y = 5 j + 2 m + 1, 1-based; flags 0."""
    joint, sample = np.mgrid[:14, :COUNT]
    return np.stack([10.0 * joint + sample + 1, 5.0 * joint + 2 * sample + 1, 0.0 * joint], axis=1)


def write(folder, joints, extended, images=COUNT):
    (folder / "images").mkdir(parents=True)
    savemat(folder / "joints.mat", {"joints": joints if extended else joints.transpose(1, 0, 2)})
    for index in range(images):
        name = f"im{index + 1:05d}.jpg" if extended else f"im{index + 1:04d}.jpg"
        cv2.imwrite(str(folder / "images" / name), np.full((80, 160, 3), 50 * index, np.uint8))
    return folder


def test_plain_layout(tmp_path):
    joints = file_joints()
    joints[0, 2, 1] = 1  # the right ankle of sample 1 is hidden
    dataset = LeedsSports(write(tmp_path / "any", joints, extended=False))
    assert (dataset.name, dataset.extended, len(dataset), dataset.skeleton) == ("lsp", False, COUNT, LSP)
    sample = dataset[1]
    assert sample.labeled.all()
    assert sample.occluded.nonzero()[0].tolist() == [LSP.index("right_ankle")]
    for joint, name in enumerate(FILE_ORDER):
        assert sample.parts_image[LSP.index(name)].tolist() == [10 * joint + 1, 5 * joint + 2]  # 0-based
    assert sample.name == "im0002.jpg"
    assert sample.image.shape == (80, 160, 3)
    assert (sample.image == 50).all()
    assert sample.roi.center == (79.5, 39.5)  # the image's


def test_extended_layout(tmp_path):
    joints = file_joints()
    joints[:, 2] = 1
    joints[13, :, 1] = -333, -444, 0  # the head top of sample 1 is not labeled, its coordinates are noise
    dataset = LeedsSports(write(tmp_path / "any", joints, extended=True))
    assert (dataset.name, dataset.extended, len(dataset)) == ("lspet", True, COUNT)
    sample = dataset[1]
    head = LSP.index("head_top")
    assert sample.labeled.sum() == 13
    assert not sample.labeled[head]
    assert np.isnan(sample.parts_image[head]).all()
    assert not sample.occluded.any()
    assert sample.parts_image[LSP.index("neck")].tolist() == [121, 62]
    assert sample.name == "im00002.jpg"
    assert sample.roi.center == (61.0, 32.0)  # the middle of joints 0 to 12


def test_hidden_joints_have_no_vote_on_scale(tmp_path):
    """As released, the flag of LSP removes a joint's limbs from the vote, but the joint stays a target."""
    joints = file_joints()
    plain = LeedsSports(write(tmp_path / "plain", joints, extended=False))
    joints[0, 0, 0] = 2000  # a right ankle that is far off
    wild = LeedsSports(write(tmp_path / "wild", joints, extended=False))
    joints[0, 2, 0] = 1
    hidden = LeedsSports(write(tmp_path / "hidden", joints, extended=False))
    sides = [dataset.roi(0, 80, 160).side for dataset in (plain, wild, hidden)]
    assert sides[1] > 2 * sides[0]
    assert sides[2] < 1.2 * sides[0]


def test_all_hidden_falls_back_to_what_is_labeled(tmp_path):
    joints = file_joints()
    joints[:, 2] = 1
    assert LeedsSports(write(tmp_path / "lsp", joints, extended=False)).roi(0, 80, 160).side > 0


def test_coordinates_that_are_not_finite_are_not_labeled(tmp_path):
    joints = file_joints()
    joints[3, 0, 0] = np.nan
    dataset = LeedsSports(write(tmp_path / "lsp", joints, extended=False))
    assert dataset.labeled[0].sum() == 13
    assert np.isnan(dataset[0].parts_image[LSP.index("left_hip")]).all()


@pytest.mark.parametrize("shape", [(14, 2, 5), (2, 14, 5), (5, 3, 14), (14, 3), (3, 13, 5)], ids=str)
def test_wrong_layout(tmp_path, shape):
    (tmp_path / "images").mkdir()
    savemat(tmp_path / "joints.mat", {"joints": np.zeros(shape)})
    with pytest.raises(ValueError, match=r"joints\.mat: joints must be numbers, \[3, 14, M\] \(lsp\) or \[14, 3, M\]"):
        LeedsSports(tmp_path)


def test_joints_that_are_no_numbers(tmp_path):
    (tmp_path / "images").mkdir()
    values = np.empty((3, 14, 2), object)
    values[:] = "x"
    savemat(tmp_path / "joints.mat", {"joints": values})
    with pytest.raises(ValueError, match=r"joints\.mat: joints must be numbers, .*, got list"):
        LeedsSports(tmp_path)


def test_another_variable(tmp_path):
    (tmp_path / "images").mkdir()
    savemat(tmp_path / "joints.mat", {"points": np.zeros((3, 14, 5))})
    with pytest.raises(ValueError, match=r"joints\.mat: must hold the variable joints"):
        LeedsSports(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"not a mat", b"\x00" * 500, b"MATLAB 5.0 MAT-file" + b" " * 109 + b"\xff" * 90]
)
def test_not_a_mat_file(tmp_path, content):
    (tmp_path / "images").mkdir()
    (tmp_path / "joints.mat").write_bytes(content)
    with pytest.raises(ValueError, match=r"joints\.mat: "):
        LeedsSports(tmp_path)


def test_truncated_mat_file(tmp_path):
    folder = write(tmp_path / "lsp", file_joints(), extended=False)
    data = (folder / "joints.mat").read_bytes()
    for kept in (130, 200, len(data) // 2, len(data) - 8):
        (folder / "joints.mat").write_bytes(data[:kept])
        with pytest.raises(ValueError, match=r"joints\.mat: "):
            LeedsSports(folder)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"joints\.mat: no such file"):
        LeedsSports(tmp_path)
    savemat(tmp_path / "joints.mat", {"joints": np.zeros((3, 14, 5))})
    with pytest.raises(FileNotFoundError, match="must hold a folder images"):
        LeedsSports(tmp_path)


def test_missing_image_is_that_samples_error_alone(tmp_path):
    dataset = LeedsSports(write(tmp_path / "lsp", file_joints(), extended=False, images=2))
    assert dataset[1].name == "im0002.jpg"
    with pytest.raises(FileNotFoundError, match=r"im0003\.jpg"):
        dataset[2]


def test_torn_image_is_that_samples_error_alone(tmp_path):
    folder = write(tmp_path / "lsp", file_joints(), extended=False)
    path = folder / "images" / "im0001.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"im0001\.jpg: "):
        LeedsSports(folder)[0]
    assert LeedsSports(folder)[1].name == "im0002.jpg"


@pytest.mark.data
def test_real_files(data_dir):
    sports, extended = LeedsSports(data_dir / "lsp"), LeedsSports(data_dir / "lspet")
    assert (len(extended), extended.name, sports.name) == (10000, "lspet", "lsp")
    assert len(sports) in (1000, 2000)
    assert sports.labeled.all()
    assert extended.labeled.mean() == pytest.approx(0.88, abs=0.001)
    assert (~extended.labeled).sum() == 16787
    torso = extended.labeled[:, [LSP.index("left_shoulder"), LSP.index("right_hip")]].all(axis=1)
    assert (~torso).sum() == 2821
    for dataset in (sports, extended):
        sample = dataset[len(dataset) - 1 if dataset.extended else 0]
        inside = sample.parts_image[sample.labeled] < np.array(sample.image.shape[1::-1])
        assert inside.mean() > 0.9
    # People stand upright in most of these pictures: heads over ankles.
    height = sports.parts_image[:, LSP.index("head_top"), 1] < sports.parts_image[:, LSP.index("left_ankle"), 1]
    assert height.mean() > 0.8
