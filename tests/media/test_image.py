"""Pictures are read completely or not at all, and boxes are cut at the right places."""

import contextlib
import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from cpm_fast.media.decoder_log import heard
from cpm_fast.media.image import decode_image, decode_picture, read_image
from cpm_fast.media.tiff_pieces import damaged_piece

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


def picture(height=24, width=40) -> np.ndarray:
    """Return BGR: red at the top left, blue at the top right, green below."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2, 2] = 255
    image[: height // 2, width // 2 :, 0] = 255
    image[height // 2 :, :, 1] = 255
    return image


def encode(image: np.ndarray, form: str, **options) -> bytes:
    """Encode RGB, gray or with alpha, by PIL."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, form, **options)
    return buffer.getvalue()


def jpeg(height=24, width=40, **options) -> bytes:
    return encode(picture(height, width)[..., ::-1], "JPEG", quality=95, **options)


def saved(tmp_path, data: bytes, name="photo.jpg"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    stored = STORED[orientation](picture()[..., ::-1])
    image = read_image(saved(tmp_path, encode(stored, "JPEG", quality=95, subsampling=0, exif=exif)))
    assert image.shape == (24, 40, 3)
    assert np.abs(image.astype(int) - picture()).mean() < 8


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


@pytest.mark.parametrize("kept", [2, 20, 200, 0.5, 0.9, -2])
def test_truncated_jpeg_names_the_file(tmp_path, kept):
    data = jpeg(240, 400)
    kept = int(len(data) * kept) if isinstance(kept, float) else kept
    with pytest.raises(ValueError, match=r"torn\.jpg: "):
        read_image(saved(tmp_path, data[:kept], "torn.jpg"))


@pytest.mark.parametrize("kept", [8, 40, 0.5, -12])
def test_truncated_png_names_the_file(tmp_path, kept):
    noise = np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8)
    data = encode(noise, "PNG")
    kept = int(len(data) * kept) if isinstance(kept, float) else kept
    with pytest.raises(ValueError, match=r"torn\.png: "):
        read_image(saved(tmp_path, data[:kept], "torn.png"))


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x00" * 1000, b"<html></html>", b"GIF89a"])
def test_no_picture_names_the_file(tmp_path, data):
    with pytest.raises(ValueError, match=r"odd\.jpg: not a picture"):
        read_image(saved(tmp_path, data, "odd.jpg"))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
        read_image(tmp_path / "nowhere.jpg")
    with pytest.raises(OSError):
        read_image(tmp_path)


def test_bytes_behind_the_end_of_a_jpeg_do_no_harm(tmp_path):
    plain = read_image(saved(tmp_path, jpeg()))
    for tail in (b"\x00" * 64, b"trailing", b"\xff\xd8\xff\xe1 half a second picture"):
        assert np.array_equal(read_image(saved(tmp_path, jpeg() + tail)), plain)


def test_jpeg_with_a_thumbnail(tmp_path):
    """A thumbnail is a JPEG within an APP1 segment, with its own start, scan and end."""
    small, large = jpeg(8, 8), jpeg(240, 400)
    segment = b"Exif\x00\x00" + small
    data = large[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + large[2:]
    assert np.array_equal(read_image(saved(tmp_path, data)), read_image(saved(tmp_path, large, "plain.jpg")))
    with pytest.raises(ValueError, match=r"torn\.jpg: the JPEG is cut short"):
        read_image(saved(tmp_path, data[: len(data) // 2], "torn.jpg"))


def test_hostile_png_header(tmp_path):
    """A header that claims 60000 x 60000 pixels raises an error, and no memory is allocated."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(ValueError, match=r"huge\.png: "):
        read_image(saved(tmp_path, data, "huge.png"))


def test_a_film_behind_a_jpeg_does_no_harm(tmp_path):
    """Phones append one; random bytes contain every marker."""
    plain = jpeg()
    for seed in range(8):
        film = np.random.default_rng(seed).integers(0, 256, 300_000, np.uint8).tobytes()
        image = read_image(saved(tmp_path, plain + film, "motion.jpg"))
        assert np.array_equal(image, read_image(saved(tmp_path, plain)))


@pytest.mark.parametrize("behind", [1, 8, 9, 100, 4096])
def test_bytes_behind_the_end_of_a_png_do_no_harm(tmp_path, behind):
    path = saved(tmp_path, encode(picture()[..., ::-1], "PNG") + bytes(behind), "a.png")
    assert np.array_equal(read_image(path), picture())


def test_a_webp_that_is_cut_short(tmp_path):
    data = encode(picture(200, 300)[..., ::-1], "WEBP")
    with pytest.raises(ValueError, match=r"torn\.webp: the WebP is cut short"):
        read_image(saved(tmp_path, data[: len(data) // 2], "torn.webp"))


def noisy_jpeg() -> bytearray:
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    return bytearray(cv2.imencode(".jpg", cv2.resize(noise, (400, 300)))[1].tobytes())


def test_a_strange_revision_of_jfif_is_no_damage_and_does_not_leak(tmp_path, capfd, recwarn):
    data = noisy_jpeg()
    assert data[6:11] == b"JFIF\0"
    data[11] = 3
    assert (read_image(saved(tmp_path, bytes(data))) == decode_image(bytes(noisy_jpeg()), "whole")).all()
    assert capfd.readouterr().err == "" and not recwarn


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_damage_inside_a_tiff_is_said(tmp_path, compression):
    """Its reader fills the rest of a strip with whatever was there before."""
    stored = io.BytesIO()
    Image.fromarray(waves()).save(stored, "TIFF", compression=compression)
    whole = read_image(saved(tmp_path, stored.getvalue(), "whole.tif"))
    data = bytearray(stored.getvalue())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    with pytest.warns(UserWarning, match=r"hurt\.tif: damaged inside, look at it: TIFF_Error"):
        hurt = read_image(saved(tmp_path, bytes(data), "hurt.tif"))
    assert (hurt != whole).mean() > 0.1


def waves() -> np.ndarray:
    y, x = np.mgrid[:96, :128]
    return (127 + 120 * np.sin(x / 9) * np.cos(y / 7)).astype(np.uint8)


def test_the_sum_of_deflate_in_a_tiff_is_checked(tmp_path):
    """libtiff stops at the last pixel: a run of zeros within a piece went unsaid where the length still came out."""
    stored = io.BytesIO()
    Image.fromarray(waves()).save(stored, "TIFF", compression="tiff_adobe_deflate")
    data = stored.getvalue()
    found = []
    for place in (None, *range(300, len(data) - 400, len(data) // 16)):
        changed = bytearray(data)
        if place is not None:
            changed[place : place + 16] = bytes(16)
        with warnings.catch_warnings(record=True) as told, contextlib.suppress(ValueError):
            warnings.simplefilter("always")
            image = read_image(saved(tmp_path, bytes(changed), "hurt.tif"))
            found.append((image, " ".join(str(warning.message) for warning in told)))
    (whole, nothing), *hurt = found
    assert nothing == ""
    assert all(said or (image == whole).all() for image, said in hurt)
    assert any("hurt.tif: damaged inside, look at it: corrupt Deflate data in piece" in said for _, said in hurt)


def test_pieces_of_a_tiff_that_end_early_or_never(monkeypatch):
    stored = io.BytesIO()
    Image.fromarray(waves()).save(stored, "TIFF", compression="tiff_adobe_deflate")
    data = stored.getvalue()
    assert damaged_piece(data) is None
    piece = zlib.compress(waves().tobytes())
    monkeypatch.setattr("cpm_fast.media.tiff_pieces._pieces", lambda *_: [piece[:-4]])
    assert damaged_piece(data) == "corrupt Deflate data in piece 0: it does not end"
    # 64 MB of zeros are more than the picture can need: nothing is said, and the rest is not unpacked.
    bomb = zlib.compress(bytes(1 << 26))
    monkeypatch.setattr("cpm_fast.media.tiff_pieces._pieces", lambda *_: [bomb[:-4]])
    assert damaged_piece(data) is None


def test_a_gif_that_opencv_refuses_and_pillow_reads_is_said(tmp_path, capfd, recwarn):
    stored = io.BytesIO()
    Image.fromarray(waves()).save(stored, "GIF")
    data, said = stored.getvalue(), 0
    for place in range(1000, len(data) - 200, len(data) // 40):
        changed = bytearray(data)
        changed[place] ^= 4
        with contextlib.suppress(ValueError):
            read_image(saved(tmp_path, bytes(changed), "hurt.gif"))
    said = sum("hurt.gif: damaged inside, look at it" in str(warning.message) for warning in recwarn)
    assert said and capfd.readouterr().err == ""


def test_damage_inside_a_jpeg_is_said_and_nothing_leaks(tmp_path, capfd):
    data = noisy_jpeg()
    middle = len(data) // 2
    data[middle : middle + 200] = np.random.default_rng(0).integers(0, 255, 200, dtype=np.uint8).tobytes()
    with pytest.warns(UserWarning, match=r"hurt\.jpg: damaged inside, look at it: Corrupt JPEG data"):
        assert read_image(saved(tmp_path, bytes(data), "hurt.jpg")).shape == (300, 400, 3)
    assert capfd.readouterr().err == ""


def test_damage_is_said_of_the_right_picture_among_threads(tmp_path, capfd):
    data = noisy_jpeg()
    fine = saved(tmp_path, bytes(data), "fine.jpg")
    middle = len(data) // 2
    data[middle : middle + 200] = np.random.default_rng(0).integers(0, 255, 200, dtype=np.uint8).tobytes()
    hurt = saved(tmp_path, bytes(data), "hurt.jpg")
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cpm_fast.media.image.warnings.warn", lambda text, **_: told.append(text.split(":")[0]))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(read_image, [fine, hurt, fine, fine] * 10))
    assert told == [str(hurt)] * 10 and capfd.readouterr().err == ""


def test_lines_of_others_pass_while_pictures_are_decoded(capfd):
    def decode() -> int:
        os.write(2, b"somebody else's line\nlibpng warning: iCCP: known incorrect sRGB profile\n")
        return 3

    assert heard(decode) == (3, [])
    assert capfd.readouterr().err == "somebody else's line\n"


def test_all_lines_of_a_failed_check_are_a_decoder_s(capfd):
    def decode() -> None:
        os.write(2, b"OpenCV(5.0.0) a.cpp:1: error: (-2) in function 'f'\n> Too long:\n>     'a < b'\n> where\nmine\n")
        os.write(2, b"> quoted by somebody else\n")

    heard(decode)
    assert capfd.readouterr().err == "mine\n> quoted by somebody else\n"


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
