"""Pictures of every kind come out upright, as BGR bytes, and those that can't be read are refused."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from cpm_fast.media.containers import first_picture
from cpm_fast.media.image import decode_image, decode_picture, read_image
from support.pictures import encode, picture, saved

EXIF_ORIENTATION = 0x0112
# The stored form of an upright picture in a file with this orientation.
STORED = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, 1),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: np.rot90(image, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    stored = STORED[orientation](picture()[..., ::-1])
    image = read_image(saved(tmp_path, encode(stored, "JPEG", quality=95, subsampling=0, exif=exif)))
    assert image.shape == (24, 40, 3)
    assert np.abs(image.astype(int) - picture()).mean() < 8


def test_tags_are_found_where_they_stand():
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    tagged = encode(picture()[..., ::-1], "JPEG", exif=exif)
    spoken = encode(picture()[..., ::-1], "JPEG", comment=b"no Exif\0 here")
    assert first_picture(tagged).exif and not first_picture(spoken).exif


def test_a_system_that_tells_no_sizes(tmp_path, monkeypatch):
    path = saved(tmp_path, encode(picture()[..., ::-1], "PNG"))
    real = Path.stat

    def without_size(path, **options):
        return os.stat_result((*real(path, **options)[:6], 0, 0, 0, 0))

    monkeypatch.setattr(Path, "stat", without_size)
    assert np.array_equal(read_image(path), picture())


def smooth(height: int, width: int) -> np.ndarray:
    """Return BGR: a slope across in blue, down in green."""
    down, across = np.indices((height, width))
    return np.stack([across * 200 / width, down * 200 / height, np.full((height, width), 90)], -1).astype(np.uint8)


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(("height", "width"), [(120, 200), (117, 203)], ids=["whole blocks", "cut blocks"])
def test_reduced_jpeg_has_the_means_of_its_pixels(orientation, reduction, height, width):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    wanted = smooth(height, width)
    data = encode(STORED[orientation](wanted[..., ::-1]), "JPEG", quality=98, subsampling=0, exif=exif)
    asked = []
    found = decode_picture(data, "photo.jpg", reduction=lambda longer: asked.append(longer) or reduction)
    assert asked == [width] and found.size == (height, width)
    assert found.reduction == reduction or (orientation > 1 and height % 2)
    assert found.pixels.shape[:2] == (-(-height // found.reduction), -(-width // found.reduction))
    rows, columns = height // found.reduction, width // found.reduction
    whole = wanted[: rows * found.reduction, : columns * found.reduction].astype(float)
    means = whole.reshape(rows, found.reduction, columns, found.reduction, 3).mean((1, 3))
    assert np.abs(found.pixels[:rows, :columns] - means).max() < 4


def test_only_jpegs_are_reduced():
    for form in ("PNG", "WEBP", "BMP"):
        found = decode_picture(encode(smooth(80, 120), form), "photo", reduction=lambda longer: 4)
        assert found.reduction == 1 and found.pixels.shape == (80, 120, 3)


def test_png_is_exact(tmp_path):
    path = saved(tmp_path, encode(picture()[..., ::-1], "PNG"), "photo.png")
    assert np.array_equal(read_image(path), picture())
    assert np.array_equal(read_image(str(path)), picture())


def test_gray_alpha_and_sixteen_bits_become_three_channels_of_bytes(tmp_path):
    gray = np.arange(24 * 40, dtype=np.int64).reshape(24, 40)
    image = read_image(saved(tmp_path, encode((gray % 256).astype(np.uint8), "PNG"), "gray.png"))
    assert np.array_equal(image, np.repeat((gray % 256)[..., None], 3, axis=2))
    alpha = np.dstack([picture()[..., ::-1], np.full((24, 40), 7, np.uint8)])
    assert np.array_equal(read_image(saved(tmp_path, encode(alpha, "PNG"), "alpha.png")), picture())
    deep = read_image(saved(tmp_path, encode((gray * 64).astype(np.uint16), "PNG"), "deep.png"))
    assert deep.dtype == np.uint8
    assert deep.shape == (24, 40, 3)
    assert np.abs(deep[..., 0].astype(int) - gray * 64 // 256).max() <= 1
    palette = Image.fromarray(picture()[..., ::-1]).convert("P")
    palette.save(tmp_path / "palette.png")
    assert np.abs(read_image(tmp_path / "palette.png").astype(int) - picture()).max() < 64


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(OSError):
        read_image(tmp_path)


def test_twelve_of_sixteen_bits_are_scaled_with_a_word(tmp_path):
    ramp = np.rint(np.linspace(0, 4095, 24 * 40)).reshape(24, 40).astype(np.uint16)
    with pytest.warns(UserWarning, match=r"twelve\.png: uses 12 of its 16 bits"):
        image = read_image(saved(tmp_path, cv2.imencode(".png", ramp)[1].tobytes(), "twelve.png"))
    assert np.abs(image[..., 0].astype(float) - ramp * (255 / 4095)).max() <= 0.5


@pytest.mark.parametrize("mode", ["F", "I"])
def test_samples_that_are_no_bytes(tmp_path, mode):
    values = np.linspace(0, 255, 24 * 40).reshape(24, 40).astype(np.float32 if mode == "F" else np.int32)
    Image.fromarray(values).save(tmp_path / "odd.tif")
    with pytest.raises(ValueError, match=r"odd\.tif: must have samples of 8 or 16 bits, got (float|int)32"):
        read_image(tmp_path / "odd.tif")


@pytest.mark.parametrize("suffix", ["tif", "webp", "gif", "avif", "png"])
def test_of_several_pages_the_first_with_a_word(tmp_path, suffix):
    pages = [Image.fromarray(np.full((24, 40, 3), 50 * i, np.uint8)) for i in range(1, 6)]
    # A large color profile comes before the mark of an animation.
    profile = np.random.default_rng(0).bytes(9000)
    pages[0].save(
        tmp_path / f"stack.{suffix}",
        save_all=True,
        append_images=pages[1:],
        **({"icc_profile": profile} if suffix == "png" else {}),
    )
    with pytest.warns(UserWarning, match=rf"stack\.{suffix}: has 5 pages or frames; only the first is used"):
        image = read_image(tmp_path / f"stack.{suffix}")
    assert image.shape == (24, 40, 3) and abs(int(image.mean()) - 50) <= 3


def test_avif_is_read_and_heic_says_what_it_needs(tmp_path):
    image = read_image(saved(tmp_path, encode(picture(64, 64)[..., ::-1], "AVIF", quality=95), "a.avif"))
    assert np.abs(image.astype(int) - picture(64, 64)).mean() < 12
    with pytest.raises(ValueError, match=r"b\.heic: (HEIC pictures need|not a picture)"):
        read_image(saved(tmp_path, b"\0\0\0\x18ftypheic" + bytes(16), "b.heic"))


def test_more_pixels_than_allowed_are_refused_from_the_header(tmp_path):
    for form in ("PNG", "JPEG", "TIFF", "WEBP", "BMP"):
        path = saved(tmp_path, encode(picture()[..., ::-1], form), f"a.{form.lower()}")
        assert read_image(path, max_pixels=24 * 40).shape == (24, 40, 3)
        with (
            pytest.MonkeyPatch.context() as patch,
            pytest.raises(ValueError, match=r"has 40 x 24 pixels, more than 959; make it smaller, or allow it with "),
        ):
            patch.setattr("cpm_fast.media.image._by_opencv", None)
            read_image(path, max_pixels=24 * 40 - 1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_pipes_and_endless_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    (tmp_path / "large.png").touch()
    os.truncate(tmp_path / "large.png", (1 << 30) + 1)
    for name, message in (("pipe.jpg", "regular file"), ("endless.png", "regular file"), ("large.png", "at most")):
        with pytest.raises(ValueError, match=rf"{name}: .*{message}"):
            read_image(tmp_path / name)


def test_a_bitmap_that_claims_more_pixels_than_pillow_reads_is_named():
    data = bytearray(cv2.imencode(".bmp", np.zeros((24, 20, 3), np.uint8))[1].tobytes())
    data[18:26] = (1 << 25).to_bytes(4, "little") + (24).to_bytes(4, "little")
    # OpenCV leaves this kind of compression to Pillow.
    for packing in (0, 3, 4, 7):
        data[30] = packing
        with pytest.raises(ValueError, match="bomb"):
            decode_image(bytes(data), "bomb")


def test_the_pages_of_a_large_picture_are_not_a_bomb(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    picture = np.full((30, 20, 3), 9, np.uint8)
    assert np.array_equal(decode_image(cv2.imencode(".tiff", picture)[1].tobytes(), "large"), picture)
