"""A picture is read completely or not at all, and damage inside it is said."""

import contextlib
import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from cpm_fast.cli import main
from cpm_fast.media.image import decode_image, read_image
from cpm_fast.media.tiff_pieces import damaged_piece
from support.pictures import encode, jpeg, picture, saved


@pytest.mark.parametrize("kept", [2, 20, 200, 0.5, 0.9, -2])
def test_truncated_jpeg_names_the_file(tmp_path, kept):
    data = jpeg(240, 400)
    kept = int(len(data) * kept) if isinstance(kept, float) else kept
    with pytest.raises(ValueError, match=r"torn\.jpg: "):
        read_image(saved(tmp_path, data[:kept], "torn.jpg"))


def test_a_command_says_nothing_of_broken_tags(tmp_path, capsys):
    """Pillow reports them as "Corrupt EXIF data", without a name and once for each look at the file."""
    exif = Image.Exif()
    exif[0x010E] = "a text that the file does not hold to its end"
    out = io.BytesIO()
    Image.fromarray(picture(40, 60)[..., ::-1]).save(out, "TIFF", exif=exif)
    data = out.getvalue()
    tags = int.from_bytes(data[4:8], "little")
    path = saved(tmp_path, data[: tags + 30], "odd.tiff")
    main(["infer", str(path), "--model", "compact-drawn", "--find", "whole", "-o", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert "odd.tiff" in said and "Corrupt EXIF" not in said


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
