"""Checks of paths before PyTorch is imported, which takes seconds: a missing one is reported at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path

from cpm_fast.system.words import meant

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
# Data named by a word: drawn figures, or corrections of other data, which are checked when they are opened.
DRAWN_WORDS = ("synthetic", "synthetic-scenes")
WORDS = (*DRAWN_WORDS, "corrected")


def check_paths(options: argparse.Namespace) -> None:
    """Refuse inputs of a verb that do not exist.

    Raises:
        FileNotFoundError: names the first.
    """
    for item in getattr(options, "pictures", None) or ():
        if isinstance(item, Path) and not item.exists():
            camera = f"; a camera is --camera {item}" if str(item).isdigit() else ""
            raise FileNotFoundError(f"{item}: no such image or folder{camera}")
    data = getattr(options, "data", None) or ()
    for spec in [data] if isinstance(data, str) else data:
        if str(spec).split(":")[0] not in WORDS and not Path(spec).exists():
            words = " or ".join(DRAWN_WORDS)
            raise FileNotFoundError(f"{spec}: no such file or folder (data may also be the word {words})")
    for name in ("predictions", "boxes"):
        given = getattr(options, name, None)
        if given is not None and not Path(given).exists():
            raise FileNotFoundError(f"{given}: no such file")
    for name in ("model", "init"):
        given = getattr(options, name, None)
        if isinstance(given, str):
            _check_weights(given)


def expand_patterns(items: Sequence[Path | str]) -> list[Path | str]:
    """Return paths, with patterns such as *.jpg expanded if the shell has not done so.

    Raises:
        FileNotFoundError: nothing matches.
    """
    found: list[Path | str] = []
    for item in items:
        if isinstance(item, str) or item.exists() or not has_magic(str(item)):
            found.append(item)
            continue
        matches = sorted(map(Path, glob(str(item))))
        if not matches:
            raise FileNotFoundError(f"{item}: no file matches")
        found += matches
    return found


def _check_weights(given: str) -> None:
    bundled = sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))
    if given not in bundled and not Path(given).exists():
        raise FileNotFoundError(
            f"{given}: neither a file nor one of the bundled weights {bundled}{meant(given, bundled)}"
        )
