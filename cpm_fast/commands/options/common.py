"""Options that several verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_test_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a network's run over pictures."""
    parser.add_argument("--pyramid", nargs="+", type=float, metavar="FACTOR", help="magnifications that are averaged")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored picture")
    parser.add_argument("--batch", type=int, default=16, help="crops per forward pass (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")


def add_project_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a project."""
    parser.add_argument("--project", type=Path, help="a folder with a project.toml, see cpm-fast project")
