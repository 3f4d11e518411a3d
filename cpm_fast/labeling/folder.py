"""The pictures below a folder, the only ones that are served."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

from cpm_fast.media.image import IMAGE_SUFFIXES

# Settings and predictions of a labeled folder lie here; hidden folders are not searched.
PRIVATE = ".labeling"
# Suffixes that every browser shows; other pictures are sent as PNG.
SHOWN = {".bmp": "image/bmp", ".jpeg": "image/jpeg", ".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


def list_pictures(folder: Path) -> list[str]:
    """Return the names of all pictures below a folder, relative to it with forward slashes, img2 before img10.

    Hidden files and folders, links that lead out of the folder and names that are not UTF-8 are left out; the last
    are warned about.

    Raises:
        FileNotFoundError: no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    root, names, strange = folder.resolve(), [], 0
    waiting = [root]
    while waiting:
        # Only links are resolved: for 10,000 pictures, checking every path took most of the start.
        for entry in os.scandir(waiting.pop()):
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            elif path.suffix.lower() in IMAGE_SUFFIXES and (
                entry.is_file(follow_symlinks=False) or is_below(root, path)
            ):
                try:
                    name = path.relative_to(root).as_posix()
                    name.encode("utf-8")
                    names.append(name)
                except UnicodeEncodeError:
                    strange += 1
    if strange:
        warnings.warn(f"{folder}: {strange} pictures have names that are not UTF-8; rename them", stacklevel=2)
    return sorted(names, key=natural)


def is_below(root: Path, path: Path) -> bool:
    """Return whether a path is a file below a resolved folder once links are followed."""
    try:
        return path.is_file() and path.resolve().is_relative_to(root)
    except OSError:
        return False


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts numbers within names by their value."""
    pieces = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(piece), "") if piece[0].isdigit() and len(piece) < 20 else (1, 0, piece) for piece in pieces]
