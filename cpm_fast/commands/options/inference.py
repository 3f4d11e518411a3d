"""Options of cpm-fast infer."""

from __future__ import annotations

import argparse
from pathlib import Path

from cpm_fast.commands.options.common import add_limit_options, add_model_option, add_test_options, path_or_url


def add_infer_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of cpm-fast infer."""
    parser.add_argument(
        "pictures",
        nargs="*",
        type=path_or_url,
        help="picture files, folders of them, or - for one on stdin; or videos, folders of them, or their addresses "
        "(http, rtsp)",
    )
    parser.add_argument("-r", "--recursive", action="store_true", help="also read folders within folders")
    parser.add_argument("--camera", type=int, metavar="N", help="a camera by its number from 0; Ctrl-C ends it")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/infer"), help="folder to write (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="resume a folder or video that was interrupted")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace files of an earlier run even if they were "
        "changed since then; files that cpm-fast did not write are never replaced",
    )
    add_model_option(parser)
    parser.add_argument(
        "--box",
        nargs=4,
        type=float,
        action="append",
        metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"),
        help="a subject's box in pixels of the one picture, or of a video's first frame; may be repeated",
    )
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE",
        help="where the subjects of the pictures are: COCO's detections or annotations (.json), or a table with the "
        "columns image, left, top, right, bottom, a row per subject (.csv); matched by the names of the pictures",
    )
    parser.add_argument(
        "--box-category",
        type=int,
        metavar="ID",
        help="of --boxes: the category_id of the subjects, if there are several",
    )
    parser.add_argument(
        "--find",
        choices=("auto", "search", "whole"),
        default="auto",
        help="how to find subjects in pictures without --box or --boxes: whole takes each picture as one subject; "
        "search looks for subjects of all sizes with the pose network; auto uses the finder that the weights name, "
        "and is whole for weights without one (%(default)s)",
    )
    parser.add_argument(
        "--finder", metavar="FILE", help="weights of a finder for the subjects: a file or a bundled name"
    )
    add_limit_options(parser, boxes=True)
    parser.add_argument(
        "--form",
        choices=("json", "csv", "npz", "coco", "openpose"),
        help="format of the results (default: json; for a video csv, which is always written)",
    )
    parser.add_argument(
        "--min-score",
        type=float,
        metavar="SCORE",
        help="do not draw parts with a lower peak, and write them as absent (default: 0.1 in drawings, videos and "
        "CSV; other files of pictures hold all parts)",
    )
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=200_000_000,
        metavar="N",
        help="refuse picture files of more pixels, which could fill the memory (%(default)s)",
    )
    parser.add_argument("--no-pictures", action="store_true", help="write no pictures or video with the poses drawn in")
    parser.add_argument("--details", action="store_true", help="also draw every subject's box and mean score")
    parser.add_argument("--stages", action="store_true", help="also write the belief maps stage by stage as pictures")
    parser.add_argument("--smooth", action="store_true", help="smooth the poses of a video over time (one-euro filter)")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames of a video or camera")
    parser.add_argument(
        "--tune",
        action="store_true",
        help="measure the fastest algorithms on this CPU and keep the result; worthwhile for many pictures",
    )
    parser.add_argument(
        "--readers",
        type=int,
        default=0,
        metavar="N",
        help="threads that read the next pictures while the network runs (%(default)s)",
    )
    add_test_options(parser)
