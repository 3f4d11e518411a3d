"""Fonts for the letters of drawn marks: the one of matplotlib, or for other alphabets one of the system."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageFont

# The number of the system's fonts that are searched.
MOST_FONTS = 500


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont | None:
    """Return a font that has all letters of a text; None if neither matplotlib nor the system has one."""
    from PIL import ImageFont

    letters = frozenset(letter for letter in text if not letter.isspace())
    path = _own() if _has(_own(), letters) else _of_system(letters)
    return None if path is None else ImageFont.truetype(path, size)


def own_font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font that comes with matplotlib; it has a box in place of a letter that it lacks."""
    from PIL import ImageFont

    return ImageFont.truetype(_own(), size)


@lru_cache(maxsize=1)
def _own() -> str:
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


def _has(path: str, letters: frozenset[str]) -> bool:
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        return all(font.get_char_index(ord(letter)) for letter in letters)
    # Damaged fonts, and kinds of fonts that FreeType was built without.
    except (RuntimeError, OSError, ValueError):
        return False


@lru_cache(maxsize=64)
def _of_system(letters: frozenset[str]) -> str | None:
    from matplotlib.font_manager import findSystemFonts
    from PIL import ImageFont

    for path in sorted(findSystemFonts())[:MOST_FONTS]:
        if not _has(path, letters):
            continue
        try:
            # Fonts of colored pictures come in one size only.
            ImageFont.truetype(path, 18)
        except OSError:
            continue
        return path
    return None
