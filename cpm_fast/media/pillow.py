"""Pillow, without its remarks on broken tags, which name no file; damage to the pixels is reported by our readers."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

# Where Pillow reads the tags of EXIF and TIFF. OpenCV reads the one tag that matters, the orientation, by itself.
TAGS_MODULE = "PIL.TiffImagePlugin"
SILENCE = ("ignore", None, UserWarning, re.compile(re.escape(TAGS_MODULE)), 0)


def opened(file: Path | IO[bytes]) -> Image.Image:
    """Open a picture with Pillow, whose errors on damaged files are of many kinds."""
    from PIL import Image

    # A filter, not `catch_warnings`: pictures are read by several threads, and it would show repeated warnings again.
    if SILENCE not in warnings.filters:
        warnings.filterwarnings("ignore", category=UserWarning, module=re.escape(TAGS_MODULE))
    return Image.open(file)
