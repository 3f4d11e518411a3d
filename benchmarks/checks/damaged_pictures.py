"""Damaged picture files of every kind: how many are refused, told in a warning, harmless, or wrong in silence.

python benchmarks/checks/damaged_pictures.py [--files 50] [--seed 0] [--kinds gif jp2 ...] [--out FILE.json]

A file is cut short, has single bits turned, has bytes exchanged, or has a run of zeros. It is wrong in silence if it is
read without a word, and more than one pixel in a thousand differs by more than 16 gray levels from the file that is
whole. A byte that a coder had to trust (a pixel of a bitmap, a level of a wavelet) can't be told from a right one, so
silence is counted, not forbidden. The exit code is 1 if a reader raises an error of another kind than ValueError.
"""

from __future__ import annotations

import argparse
import io
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from cpm_fast.data.drawn.synthetic import DrawnFigures  # noqa: E402
from cpm_fast.media.image import decode_image  # noqa: E402
from cpm_fast.system.files import write_json  # noqa: E402
from cpm_fast.system.versions import versions  # noqa: E402

# Kind -> Pillow's format and options.
KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {"quality": 90}),
    "jpeg-progressive": ("JPEG", {"quality": 90, "progressive": True}),
    "jpeg-restarts": ("JPEG", {"quality": 90, "restart_marker_rows": 1}),
    "webp": ("WEBP", {"quality": 90}),
    "webp-lossless": ("WEBP", {"lossless": True}),
    "gif": ("GIF", {}),
    "jp2": ("JPEG2000", {"quality_mode": "rates", "quality_layers": [10]}),
    "tiff": ("TIFF", {}),
    "tiff-lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff-deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff-jpeg": ("TIFF", {"compression": "jpeg"}),
    "avif": ("AVIF", {"quality": 80}),
    "bmp": ("BMP", {}),
}
VISIBLE_LEVELS, VISIBLE_SHARE = 16, 0.001
REFUSED, TOLD, HARMLESS, SILENT, FAULT = OUTCOMES = ("refused", "told", "harmless", "silent", "fault")
WAYS = ("cut", "bit", "bytes", "zeros")


def encoded(kind: str) -> bytes:
    """Return a drawn figure as a file of a kind."""
    form, options = KINDS[kind]
    file = io.BytesIO()
    Image.fromarray(DrawnFigures(1)[0].image[..., ::-1].copy()).save(file, form, **options)
    return file.getvalue()


def damaged(data: bytes, way: str, random: np.random.Generator) -> bytes:
    """Return the bytes with damage of one way, somewhere behind the first 12 bytes."""
    place = int(random.integers(12, len(data)))
    if way == "cut":
        return data[:place]
    changed = bytearray(data)
    if way == "bit":
        changed[place] ^= 1 << int(random.integers(8))
    elif way == "bytes":
        for at in random.integers(12, len(data), 8):
            changed[at] = int(random.integers(256))
    else:
        end = min(place + 16, len(data))
        changed[place:end] = bytes(end - place)
    return bytes(changed)


def outcome(data: bytes, whole: np.ndarray) -> str:
    """Read a damaged file; return one of OUTCOMES."""
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            image = decode_image(data, "file")
    except ValueError:
        return REFUSED
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return FAULT
    if told:
        return TOLD
    if image.shape != whole.shape:
        return SILENT
    off = np.abs(image.astype(int) - whole).max(axis=2) > VISIBLE_LEVELS
    return SILENT if off.mean() > VISIBLE_SHARE else HARMLESS


def census(kind: str, files: int, seed: int) -> dict[str, Counter[str]]:
    """Return for each way of damage the number of files by outcome."""
    data = encoded(kind)
    whole = decode_image(data, kind)
    random = np.random.default_rng([seed, *kind.encode()])
    found = {way: Counter[str]() for way in WAYS}
    for number in range(files):
        way = WAYS[number % len(WAYS)]
        found[way][outcome(damaged(data, way, random), whole)] += 1
    return found


def main(arguments: list[str] | None = None) -> int:
    """Count for each kind; print a table and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=50, help="damaged files per kind (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (%(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of files (all)")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    counts: dict[str, dict[str, dict[str, int]]] = {}
    print(f"{'kind':18}" + "".join(f"{name:>10}" for name in OUTCOMES), " silent by way")
    for kind in options.kinds:
        found = census(kind, options.files, options.seed)
        counts[kind] = {way: {name: count[name] for name in OUTCOMES if count[name]} for way, count in found.items()}
        total = sum(found.values(), Counter[str]())
        silent = ", ".join(f"{way} {count[SILENT]}" for way, count in found.items() if count[SILENT])
        print(f"{kind:18}" + "".join(f"{total[name]:>10}" for name in OUTCOMES), "", silent)
    if options.out:
        values = {
            "command": " ".join(["python benchmarks/checks/damaged_pictures.py", *(arguments or sys.argv[1:])]),
            "files": options.files,
            "visible": {"levels": VISIBLE_LEVELS, "share": VISIBLE_SHARE},
            "counts": counts,
            "versions": versions(),
        }
        write_json(options.out, values)
        print(f"wrote {options.out}")
    return int(any(FAULT in count for ways in counts.values() for count in ways.values()))


if __name__ == "__main__":
    sys.exit(main())
