"""Draw the pictures of the documentation: `python docs/tools/draw.py [NAME ...]`, all of them without a name.

Files that exist are replaced. `poses.png` and `stages.png` are pictures of `cpm-fast demo`. Pictures of results come
from the benchmarks that made the figures.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from architecture import draw_architecture
from box import draw_box
from cpm_fast.cli import main as cpm_fast
from data_flow import draw_data_flow
from finding import draw_finding
from spectral import draw_spectral

DOCS = Path(__file__).resolve().parent.parent


def draw_demo(folder: Path) -> list[Path]:
    """Copy two pictures of the demo into a folder."""
    with tempfile.TemporaryDirectory() as work:
        if cpm_fast(["demo", "--figures", "8", "-o", work]) != 0:
            raise RuntimeError("the demo failed; its message says why")
        names = {"poses.png": "poses.png", "stages0.png": "stages.png"}
        return [Path(shutil.copy(Path(work) / name, folder / new)) for name, new in names.items()]


DRAWINGS: dict[str, Callable[[Path], list[Path]]] = {
    "architecture": draw_architecture,
    "box": draw_box,
    "data-flow": draw_data_flow,
    "demo": draw_demo,
    "finding": draw_finding,
    "spectral": draw_spectral,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the requested pictures, and print the names of the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(DRAWINGS)} (default: all)")
    parser.add_argument("-o", "--output", type=Path, default=DOCS, help="folder to write to (default: docs/)")
    options = parser.parse_args(arguments)
    for name in options.names or DRAWINGS:
        if name not in DRAWINGS:
            parser.error(f"NAME must be any of {', '.join(DRAWINGS)}, got {name}")
        for path in DRAWINGS[name](options.output):
            print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
