"""Options of cpm-fast data check and data convert."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_check_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of cpm-fast data check."""
    parser.add_argument("data", nargs="+", help="as for train")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/check"), help="folder to write (%(default)s)")


def add_convert_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of cpm-fast data convert."""
    parser.add_argument(
        "source",
        help="any --data of cpm-fast train, or a .slp of SLEAP; with --to deeplabcut or coco a folder "
        "of cpm-fast label, or for deeplabcut results of cpm-fast infer",
    )
    parser.add_argument(
        "--to",
        choices=("labels", "deeplabcut", "coco"),
        default="labels",
        help="labels: pictures "
        "and labels.csv; deeplabcut: CollectedData, or of results a table with likelihood; coco: a "
        ".json (%(default)s)",
    )
    parser.add_argument("--scorer", default="cpm_fast", help="name of the labeler, for DeepLabCut (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write, for coco the .json file")
