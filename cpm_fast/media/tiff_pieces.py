"""A check of a TIFF's compressed pieces that its readers leave out: the sum that ends Deflate data."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import Any

COMPRESSION, STRIPS, STRIP_BYTES, TILES, TILE_BYTES = 259, 273, 279, 324, 325
DEFLATE = 8, 32946
# Samples of a pixel take at most so many bytes; pieces that unpack to more than the picture are not looked at further.
MOST_PIXEL_BYTES, STEP_BYTES = 64, 1 << 20


def damaged_piece(data: bytes) -> str | None:
    """Return what is wrong with a strip or tile of the first page; None if nothing is, or nothing can be said.

    libtiff stops at a piece's last pixel, before the Adler sum behind it.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            tags, most = dict(getattr(image, "tag_v2", {})), image.width * image.height * MOST_PIXEL_BYTES
    # Pillow's readers raise exceptions of many kinds on damaged files.
    except Exception:
        return None
    if tags.get(COMPRESSION) not in DEFLATE:
        return None
    for number, piece in enumerate(_pieces(data, tags)):
        unpacker, left = zlib.decompressobj(), piece
        try:
            while left and not unpacker.eof:
                most -= len(unpacker.decompress(left, STEP_BYTES))
                left = unpacker.unconsumed_tail
                if most < 0:
                    return None
        except zlib.error as error:
            return f"corrupt Deflate data in piece {number}: {error}"
        if not unpacker.eof:
            return f"corrupt Deflate data in piece {number}: it does not end"
    return None


def _pieces(data: bytes, tags: dict[int, Any]) -> Iterator[bytes]:
    """Yield the strips or tiles that the tags name."""
    for places, lengths in ((STRIPS, STRIP_BYTES), (TILES, TILE_BYTES)):
        for at, length in zip(tags.get(places, ()), tags.get(lengths, ()), strict=False):
            if isinstance(at, int) and isinstance(length, int) and length:
                yield data[at : at + length]
