"""Reading of picture files, whole or not at all."""

from __future__ import annotations

import io
import math
import stat
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cpm_fast.media.containers import JPEG_START, FirstPicture, first_picture
from cpm_fast.media.decoder_log import heard
from cpm_fast.media.tiff_pieces import damaged_piece


def suffixes(names: str) -> frozenset[str]:
    """Return the suffixes {".a", ".b"} for the names "a b"."""
    return frozenset(f".{name}" for name in names.split())


# Suffixes that make a file of a folder a picture; each is read by OpenCV or Pillow, or reported.
IMAGE_SUFFIXES = suffixes(
    "avif bmp dib gif heic heif jfif jp2 jpe jpeg jpg mpo pbm pcx pgm png pnm ppm ras sgi sr tga tif tiff webp"
)
# Suffixes of pictures that neither reads as the camera meant them.
UNREAD_SUFFIXES = suffixes("arw bpg cr2 cr3 dng eps exr hdr heics jxl jxr nef orf pdf pfm psd raf raw rw2 srw svg xcf")

# 600 MB as bytes in three channels; a PNG of 30000 x 30000 pixels takes 2.6 MB on disk.
MAX_PIXELS = 200_000_000
MAX_FILE_BYTES = 1 << 30
# ISO base media files that hold HEVC pictures.
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
# The EXIF tag, and its values that exchange height and width.
ORIENTATION, UPRIGHT, TURNED = 0x0112, 1, (5, 6, 7, 8)
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PAGED = (b"GIF8", *TIFF_STARTS, b"RIFF", b"\x89PNG")
SEQUENCES = (b"ftypavis", b"ftypmsf1", b"ftyphevc")
TIFF_ERROR = "TIFF_Error"
# The decoder of JPEG makes these from fewer coefficients of a block, in less time.
REDUCED = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as it was read.

    Args:
        pixels: [h, w, 3] uint8 BGR, each the mean of `reduction` x `reduction` pixels of the picture.
        size: the picture's own (height, width).
        reduction: 1, 2, 4 or 8.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    reduction: int = 1

    @classmethod
    def whole(cls, pixels: np.ndarray) -> Picture:
        """Return a picture at its own size."""
        return cls(pixels, (pixels.shape[0], pixels.shape[1]))


# For a picture's longer side in pixels, the reduction at which it may be read.
Reduction = Callable[[int], int]


def as_it_is(longer: int) -> int:
    """Return 1: a picture of any size is read whole."""
    del longer
    return 1


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a picture file, [H, W, 3] uint8 BGR; as `read_picture`, at its own size."""
    return read_picture(path, max_pixels).pixels


def decode_image(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode the bytes of a picture file; as `read_image`, with `name` in messages."""
    return decode_picture(data, name, max_pixels).pixels


def read_picture(path: str | Path, max_pixels: int = MAX_PIXELS, reduction: Reduction = as_it_is) -> Picture:
    """Read a picture file, upright by its EXIF orientation.

    The first page of a file with several is read. Samples of 16 bits become 8; where they use fewer bits, as 12-bit
    cameras do, the used range is scaled. Both are said in a warning, as is damage that the decoder found.

    Args:
        path: of a regular file of at most 1 GiB.
        max_pixels: a picture whose header announces more is refused before it takes memory.
        reduction: longer side in pixels -> 1, 2, 4 or 8, asked for JPEG files only: a JPEG of 12 million pixels is read
            in a third of the time at an eighth of its size. Other files are read at their own size.

    Returns:
        The picture; gray is repeated to three channels, an alpha channel is dropped.

    Raises:
        FileNotFoundError: no such file.
        OSError: the file can't be read.
        ValueError: not a picture, cut short, too large, or of floating-point samples; the message names the file.
    """
    path = Path(path)
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(f"{path}: must be a picture file, got a folder")
        raise ValueError(f"{path}: must be a regular file, not a pipe or device; `-` reads a picture from stdin")
    if status.st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path}: a picture file must have at most {MAX_FILE_BYTES} bytes, got {status.st_size}")
    with path.open("rb") as file:
        # A file of a system that tells no sizes has 0. The number is also what Python reserves before it reads.
        data = file.read(status.st_size or MAX_FILE_BYTES)
    return decode_picture(data, shown(path), max_pixels, reduction)


def decode_picture(data: bytes, name: str, max_pixels: int = MAX_PIXELS, reduction: Reduction = as_it_is) -> Picture:
    """Decode the bytes of a picture file; as `read_picture`, with `name` in messages."""
    try:
        first = first_picture(data)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    _check_pixels(first.size or _size_by_pillow(first.data, name, max_pixels), name, max_pixels)
    factor = 1
    if first.size and first.data.startswith(JPEG_START):
        factor = _whole_blocks(first, reduction(max(first.size)))
    try:
        image, damage = heard(lambda: _by_opencv(first.data, factor))
        if image is not None and not damage and first.data.startswith(TIFF_STARTS):
            found = damaged_piece(first.data)
            damage = [] if found is None else [found]
        if image is None:
            factor = 1
            image, more = heard(lambda: _by_pillow(first.data, name))
            damage += more
            # Kinds of TIFF that OpenCV does not read are no damage.
            damage = [line for line in damage if image is None or not line.startswith(TIFF_ERROR)]
    except MemoryError:
        raise ValueError(f"{name}: too large for this machine's memory") from None
    if image is None:
        reason = f"; {damage[0]}" if damage else ""
        raise ValueError(f"{name}: not a picture that can be decoded ({len(data)} bytes{reason})")
    for line in damage[:1]:
        warnings.warn(f"{name}: damaged inside, look at it: {line}", stacklevel=2)
    pages = _pages(first.data)
    if pages > 1:
        warnings.warn(f"{name}: has {pages} pages or frames; only the first is used", stacklevel=2)
    pixels = _as_bytes(image, name)
    if factor == 1 or first.size is None:
        return Picture.whole(pixels)
    height, width = first.size
    # The header's size is that of the sensor, which may have been turned.
    upright = pixels.shape[:2] == (-(-height // factor), -(-width // factor))
    return Picture(pixels, (height, width) if upright else (width, height), factor)


def exif_turns(path: Path) -> bool:
    """Return whether the EXIF orientation of a picture file exchanges its height and width."""
    return _with_pillow(path.read_bytes(), _orientation) in TURNED


def shown(path: Path) -> str:
    r"""Return a path in a form that any file or terminal takes: bytes that are not UTF-8 as \xNN."""
    return str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")


def _check_pixels(size: tuple[int, int] | None, name: str, max_pixels: int) -> None:
    if size is not None and size[0] * size[1] > max_pixels:
        raise ValueError(
            f"{name}: has {size[1]} x {size[0]} pixels, more than {max_pixels}; make it smaller, or allow it with "
            f"infer(..., max_pixels=) or cpm-fast infer --max-pixels"
        )


def _size_by_pillow(data: bytes, name: str, max_pixels: int) -> tuple[int, int] | None:
    """Return the header's (height, width) if Pillow reads this kind of file."""
    from PIL import Image

    def size(image: Any) -> tuple[int, int]:
        return image.height, image.width

    if _is_heif(data) and not _register_heif():
        return None
    try:
        return _with_pillow(data, size)
    except Image.DecompressionBombError as error:
        if max_pixels <= 2 * (Image.MAX_IMAGE_PIXELS or math.inf):
            raise ValueError(f"{name}: has more than {max_pixels} pixels: {error}") from None
    return None


def _whole_blocks(first: FirstPicture, factor: int) -> int:
    """Lower the reduction of a JPEG that is not stored upright until its blocks fill it: cut ones would come first."""
    if factor > 1 and first.exif and _with_pillow(first.data, _orientation) != UPRIGHT:
        while first.size and any(side % factor for side in first.size):
            factor //= 2
    return factor


def _orientation(image: Any) -> int:
    return int(image.getexif().get(ORIENTATION, UPRIGHT))


def _by_opencv(data: bytes, reduction: int) -> np.ndarray | None:
    if not data:
        return None
    way = REDUCED.get(reduction, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), way)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError from None
        return None


def _by_pillow(data: bytes, name: str) -> np.ndarray | None:
    """Read by Pillow files that OpenCV can't: GIF in some builds, HEIC with pillow-heif, TGA and others."""
    if _is_heif(data) and not _register_heif():
        raise ValueError(f"{name}: HEIC pictures need the package pillow-heif: pip install pillow-heif")

    def pixels(image: Any) -> np.ndarray:
        from PIL import ImageOps

        if image.mode in ("F", "I") or image.mode.startswith("I;"):
            return np.asarray(image)
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))[..., ::-1]

    from PIL import Image

    try:
        return _with_pillow(data, pixels)
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name}: has more pixels than Pillow reads: {error}") from None


def _with_pillow(data: bytes, use: Callable[[Any], Any]) -> Any:
    """Call `use` with the picture that Pillow opens; return None if Pillow can't read it either."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return use(image)
    except Image.DecompressionBombError:
        raise
    # Pillow's readers raise exceptions of many kinds on damaged files.
    except Exception:
        return None


def _is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS


def _register_heif() -> bool:
    try:
        from pillow_heif import register_heif_opener  # type: ignore[import-not-found]
    except ImportError:
        return False
    register_heif_opener()
    return True


def _pages(data: bytes) -> int:
    if not data.startswith(PAGED) and data[4:12] not in SEQUENCES:
        return 1
    # The chunk that makes an animation stands before the first pixels.
    if data.startswith(b"\x89PNG") and b"acTL" not in data[: max(data.find(b"IDAT"), 0)]:
        return 1
    from PIL import Image

    try:
        return _with_pillow(data, lambda image: getattr(image, "n_frames", 1)) or 1
    # OpenCV has read it, so that it may be as large.
    except Image.DecompressionBombError:
        return 1


def _as_bytes(image: np.ndarray, name: str) -> np.ndarray:
    """Return an image [H, W] or [H, W, 3] of any samples as [H, W, 3] uint8."""
    if image.dtype == np.uint16:
        bits = max(8, int(image.max()).bit_length())
        if bits < 16:
            warnings.warn(f"{name}: uses {bits} of its 16 bits; these are scaled to 8", stacklevel=3)
            image = np.rint(image * (255 / (2**bits - 1)))
        else:
            image = image >> 8
        image = image.astype(np.uint8)
    if image.dtype != np.uint8:
        raise ValueError(f"{name}: must have samples of 8 or 16 bits, got {image.dtype}; convert it, range and all")
    return np.ascontiguousarray(image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2))
