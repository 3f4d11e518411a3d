"""Options of cpm-fast frames, label, suggest and project."""

from __future__ import annotations

import argparse
from pathlib import Path

from cpm_fast.commands.options.common import add_device_option, add_model_option, add_project_option


def add_frames_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of cpm-fast frames."""
    parser.add_argument("videos", nargs="*", type=Path, help="video files (default: those of the --project)")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="folder for the pictures and frames.csv (default: the project's frames, or runs/frames)",
    )
    add_project_option(parser)
    parser.add_argument("--count", type=int, default=20, help="frames per video, at most (%(default)s)")
    parser.add_argument(
        "--by",
        choices=("kmeans", "uniform", "uncertainty"),
        default="kmeans",
        help="kmeans: frames "
        "that look different; uniform: spread over the video; uncertainty: where the network's peaks "
        "are low (%(default)s)",
    )
    parser.add_argument("--model", help="weights for --by uncertainty (default: the project's last)")
    parser.add_argument("--seed", type=int, default=0, help="of kmeans (%(default)s)")


def add_label_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of cpm-fast label."""
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        help="folder of the pictures and of labels.csv (default: the project's frames)",
    )
    add_project_option(parser)
    parser.add_argument(
        "--only",
        type=Path,
        metavar="TABLE",
        help="show only the pictures of this CSV, in its order, for instance the suggestions.csv of cpm-fast suggest",
    )
    parser.add_argument(
        "--skeleton",
        help="parts to label: lsp, mpii, flic, coco, jhmdb or a .toml file (default: the "
        "folder's skeleton.toml, its labels.csv, or the network's)",
    )
    parser.add_argument(
        "--model",
        help="show the predictions of these weights: a .safetensors file or a bundled name "
        "(default: the project's last; none: the predictions of cpm-fast suggest)",
    )
    add_device_option(parser)
    parser.add_argument("--port", type=int, help="port on 127.0.0.1 (default: 8765, or the next free one)")


def add_suggest_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of cpm-fast suggest."""
    parser.add_argument(
        "folder", nargs="?", type=Path, help="folder of the pictures and labels.csv (default: the project's)"
    )
    add_project_option(parser)
    add_model_option(parser, default="the project's last")
    parser.add_argument("-n", "--count", type=int, default=20, help="pictures to suggest (%(default)s)")
    parser.add_argument(
        "--by",
        nargs="+",
        choices=("low_peaks", "stages", "mirrored", "jump", "novelty"),
        help="criteria (default: all; mirrored only if the skeleton has pairs)",
    )
    add_device_option(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="folder to write (default: the project's next runs/suggest-N, or runs/suggest)",
    )


def add_new_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of cpm-fast project new."""
    parser.add_argument("folder", type=Path, help="the folder to make")
    parser.add_argument("--skeleton", required=True, help="the parts: lsp, mpii, flic, coco, jhmdb or a .toml file")
    parser.add_argument(
        "--videos",
        nargs="+",
        default=["videos/*"],
        metavar="VIDEO",
        help="paths or patterns relative to the folder (default: videos/*)",
    )
