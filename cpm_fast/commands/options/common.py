"""Options that several verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path

from cpm_fast.system.urls import is_url

STDIN = "-"


def add_model_option(parser: argparse.ArgumentParser, default: str = "bundled") -> None:
    """Add the option that names a network; `default` describes the one that is used without it."""
    parser.add_argument("--model", help=f"weights: a .safetensors file or a bundled name (default: {default})")


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a device."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, or mps on a Mac (%(default)s)")


def add_test_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a network's run over pictures."""
    parser.add_argument("--pyramid", nargs="+", type=float, metavar="FACTOR", help="average over these magnifications")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored picture")
    parser.add_argument("--batch", type=int, default=16, help="crops per forward pass (%(default)s)")
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "tf32", "bf16"),
        default="auto",
        help="precision of the pose network: auto is fp32; tf32 is for CUDA, bf16 for CPU and CUDA (%(default)s)",
    )
    add_device_option(parser)


def add_limit_options(parser: argparse.ArgumentParser, boxes: bool = False) -> None:
    """Add the limits of looking for subjects; `boxes`: of those of --boxes too."""
    parser.add_argument(
        "--max-subjects",
        type=int,
        metavar="N",
        help=f"keep at most so many subjects of a finder{', a search or --boxes' if boxes else ' or a search'} per "
        "picture, best first",
    )
    parser.add_argument(
        "--min-find-score",
        type=float,
        metavar="SCORE",
        help="lowest score of a found subject: with a finder a mean of the belief in its center and of its peaks "
        "(default: the finder's own), with a search the mean peak (default: 0.3)"
        + (", with --boxes the box's score (default: all)" if boxes else ""),
    )


def add_project_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a project."""
    parser.add_argument("--project", type=Path, help="a folder with a project.toml, see cpm-fast project")


def path_or_url(text: str) -> Path | str:
    """Read an argument: an address or `-` stays as it is, anything else is a path."""
    return text if text == STDIN or is_url(text) else Path(text)


def add_loudness_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every verb has."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("-q", "--quiet", action="store_true", help="print only warnings and errors")
    how.add_argument("-v", "--verbose", action="store_true", help="also print the log, and the traceback of an error")
