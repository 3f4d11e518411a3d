"""Options of cpm-fast eval."""

from __future__ import annotations

import argparse
from pathlib import Path

from cpm_fast.commands.options.common import add_limit_options, add_model_option, add_test_options


def add_eval_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of cpm-fast eval."""
    parser.add_argument("--data", required=True, help="as for train")
    parser.add_argument("--last", type=int, metavar="N", help="score only the last N samples")
    add_model_option(parser)
    parser.add_argument(
        "--predictions",
        type=Path,
        metavar="FILE",
        help="score this file instead of a network: "
        ".json, .csv or .npz of ours, COCO's results .json, arrays in .npz or .mat (prediction_all "
        "of the authors' release among them); matched by the names of the images if the file has "
        "them, otherwise by order",
    )
    parser.add_argument(
        "--skeleton",
        help="parts of that file in its order, if it doesn't name them: lsp, mpii, "
        "flic, coco or a .toml file (default: by their number)",
    )
    parser.add_argument(
        "--first-pixel",
        type=float,
        metavar="X",
        help="coordinate of the first pixel in that file (default: 1 in .mat files, otherwise 0)",
    )
    parser.add_argument(
        "--metric",
        choices=("auto", "pck", "pckh", "flic", "oks"),
        default="auto",
        help="pck: PCK@0.2; pckh: PCKh@0.5 over MPII's head length; flic: PCK@0.2 over the torso, "
        "elbows and wrists reported; oks: PCK, and COCO's average precision (needs pycocotools); "
        "auto: pckh if the annotation has head lengths, flic for FLIC's parts, otherwise pck "
        "(%(default)s)",
    )
    parser.add_argument(
        "--reference",
        metavar="LENGTH",
        help="reference length of errors: torso (left "
        "shoulder to right hip), head, box (longer side around the labeled parts), pixel, or two "
        "parts PART:PART (default: the metric's)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="T",
        help="largest error that counts as found, in reference lengths (default: 0.2, for pckh 0.5)",
    )
    parser.add_argument(
        "--centric",
        choices=("person", "observer"),
        default="person",
        help="person: left and right "
        "as annotated and predicted; observer: sides of truth and prediction renamed as if every subject "
        "faced the camera (%(default)s)",
    )
    parser.add_argument(
        "--protocol",
        choices=("crop", "lsp"),
        default="crop",
        help="crop: each sample's own region, as in training; lsp: the LSP test protocol, image "
        "height to 294.4 px of 368 and pyramid 0.7 to 1.3 by 0.1 (%(default)s)",
    )
    parser.add_argument(
        "--find",
        nargs="?",
        const="auto",
        choices=("auto", "search"),
        help="score whole pictures: who is found in them, and the key points beside those of the true regions; auto "
        "(the default): by the finder that the weights name, or --finder; search: by the pose network",
    )
    parser.add_argument("--finder", metavar="FILE", help="for --find: weights of a finder, a file or a bundled name")
    add_limit_options(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="folder for eval.json, pck.png, report.html and predictions.csv, or find.json (default: print only)",
    )
    add_test_options(parser)
