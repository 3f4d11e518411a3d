"""infer accepts every kind and size of image, and reports bad files among good ones."""

import io
import warnings

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import cpm_fast
from cpm_fast.inference import infer
from cpm_fast.roi import Roi

GREY = np.full((40, 60, 3), 90, np.uint8)
pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_form_of_an_image_gives_the_same(model, picture, tmp_path):
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), picture)
    rgb = np.ascontiguousarray(picture[..., ::-1])
    chw = torch.from_numpy(rgb).permute(2, 0, 1)
    alpha = np.full((50, 70, 1), 7, np.uint8)
    forms = {
        "path": path,
        "str": str(path),
        "array": picture,
        "alpha": np.concatenate([picture, alpha], axis=2),
        "pil": Image.fromarray(rgb),
        "pil with alpha": Image.fromarray(np.concatenate([rgb, alpha], axis=2)),
        "bytes tensor": chw,
        "float tensor": chw.float() / 255,
        "double tensor": chw.double() / 255,
    }
    wanted = infer(picture, model=model)[0].keypoints
    for name, form in forms.items():
        np.testing.assert_array_equal(infer(form, model=model)[0].keypoints, wanted, err_msg=name)
    np.testing.assert_array_equal(infer(rgb, model=model, color="rgb")[0].keypoints, wanted)
    results = infer(list(forms.values()), model=model)
    assert len(results) == len(forms) and results[0].name == str(path) and results[3].name == "image 3"


def test_gray_images_are_three_equal_channels(model, picture):
    gray = picture[..., 0]
    wanted = infer(np.repeat(gray[..., None], 3, axis=2), model=model)[0].keypoints
    forms = (gray, gray[..., None], Image.fromarray(gray), torch.from_numpy(gray.copy())[None])
    for form in forms:
        np.testing.assert_array_equal(infer(form, model=model)[0].keypoints, wanted)


def test_exif_orientation_is_honored(model, picture, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(tmp_path / "turned.jpg", exif=exif, quality=100)
    assert infer(tmp_path / "turned.jpg", model=model)[0].size == (70, 50)
    assert infer(Image.open(tmp_path / "turned.jpg"), model=model)[0].size == (70, 50)


@pytest.mark.parametrize("shape", [(1, 1, 3), (10, 20000, 3), (20000, 10, 3), (2, 3)], ids=str)
def test_odd_sizes(model, shape):
    result = infer(np.full(shape, 200, np.uint8), model=model)[0]
    assert result.keypoints.shape == (1, 14, 2) and np.isfinite(result.keypoints).all()
    assert result.size == shape[:2]


def test_a_folder_is_sorted_and_not_searched_deeper(model, folder):
    results = infer(folder, model=model)
    assert [result.name for result in results] == [str(folder / name) for name in ("a.png", "b.png", "c.PNG")]
    assert results[0].roi_source == "whole image" and results[0].rois == (Roi.whole_image(50, 70),)
    two = infer(folder, model=model, boxes=[[[1, 2, 30, 40]], [], [[1, 2, 30, 40], [5, 5, 9, 9]]])
    assert [len(result) for result in two] == [1, 0, 2] and two[1].roi_source == "boxes"


def test_bad_files_among_good_ones_are_reported_and_left_out(model, folder, picture):
    whole = cv2.imencode(".jpg", picture)[1].tobytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    with pytest.warns(UserWarning) as caught:
        results = infer(folder, model=model)
    messages = [str(warning.message) for warning in caught]
    assert messages[:-1] == [f"left out {why}" for why in results.failures.values()]
    assert "a.png and 2 others: probably wrong" in messages[-1]
    assert len(results) == 3 and set(results.failures) == {str(folder / "cut.jpg"), str(folder / "empty.png")}
    assert "cut short" in results.failures[str(folder / "cut.jpg")]
    with pytest.warns(UserWarning, match="cut"):
        assert len(infer([folder / "a.png", folder / "cut.jpg"], model=model)) == 1
    with pytest.raises(ValueError, match="cut short"):
        infer(folder / "cut.jpg", model=model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*probably wrong")
        infer(folder / "a.png", model=model)


def test_whatever_cannot_be_read_in_a_list_is_left_out(model, picture):
    """One rule for paths, bytes, open files and PIL images; the only image there is raises its error."""
    png, jpg = (cv2.imencode(suffix, picture)[1].tobytes() for suffix in (".png", ".jpg"))

    def bad() -> list:
        return [b"no picture", io.BytesIO(png[:60]), Image.open(io.BytesIO(jpg[: len(jpg) // 2]))]

    for verb in (infer, cpm_fast.find):
        with pytest.warns(UserWarning) as caught:
            found = verb([picture, *bad(), png], model=model, find=lambda image: [[1, 2, 30, 40]])
        left = [str(warning.message) for warning in caught if "left out" in str(warning.message)]
        assert [told.split(":")[0] for told in left] == [f"left out image {i}" for i in (1, 2, 3)], left
        assert len(found) == (2 if verb is infer else 5)
        for one, reason in zip(bad(), ("can be decoded", "cut short", "can't be read"), strict=True):
            with pytest.raises(ValueError, match=f"image 0: .*{reason}"):
                verb(one, model=model, find=lambda image: [[1, 2, 30, 40]])
    assert set(infer([picture, b""], model=model).failures) == {"image 1"}
    with pytest.raises(FileNotFoundError, match="gone"):
        infer([picture, "gone.png"], model=model)
    with pytest.raises(TypeError, match="image 1: an array must be uint8"):
        infer([picture, picture.astype(np.float32)], model=model)


def test_open_files_and_pil_images_of_files_keep_their_names(model, tmp_path, picture):
    """Warnings and errors of one name the file, not a place in a list."""
    good, bad = tmp_path / "good.png", tmp_path / "bad.jpg"
    good.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    data = cv2.imencode(".jpg", picture)[1].tobytes()
    bad.write_bytes(data[: len(data) // 2])
    pil, pil_half = Image.open(good), Image.open(bad)
    with good.open("rb") as whole, bad.open("rb") as half, pytest.warns(UserWarning) as caught:
        results = infer([pil, whole, half, pil_half], model=model)
    assert [result.name for result in results] == [str(good), str(good)]
    left = [str(warning.message) for warning in caught if "left out" in str(warning.message)]
    assert len(left) == 2
    assert all(told.startswith(f"left out {bad}: ") for told in left)
    assert set(results.failures) == {str(bad)}


def test_bytes_and_open_files_are_pictures(model, tmp_path, picture):
    data = cv2.imencode(".png", picture)[1].tobytes()
    (tmp_path / "a.png").write_bytes(data)
    wanted = infer(picture, model=model)[0].keypoints
    with (tmp_path / "a.png").open("rb") as file:
        forms = [data, bytearray(data), memoryview(data), io.BytesIO(data), file]
        results = infer(forms, model=model)
    assert [result.name for result in results] == [*(f"image {i}" for i in range(4)), str(tmp_path / "a.png")]
    for result in results:
        np.testing.assert_allclose(result.keypoints, wanted, atol=1e-3)
    assert (results[3].image() == picture).all()
    with pytest.raises(ValueError, match="image 0: not a picture that can be decoded"):
        infer(b"no picture", model=model)
    with pytest.raises(TypeError, match="image 0: a file must be open for reading bytes"):
        infer(io.StringIO("text"), model=model)
    with (tmp_path / "a.png").open(encoding="utf-8") as file, pytest.raises(TypeError, match="open it as 'rb'"):
        infer(file, model=model)
    with pytest.raises(ValueError, match="has 70 x 50 pixels, more than 3499"):
        infer(data, model=model, max_pixels=3499)
