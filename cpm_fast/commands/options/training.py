"""Options of cpm-fast train."""

from __future__ import annotations

import argparse
from pathlib import Path

from cpm_fast.commands.options.common import add_device_option


def add_train_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of cpm-fast train."""
    _add_data_options(parser)
    _add_network_options(parser)
    _add_recipe_options(parser)
    _add_augmentation_options(parser)
    _add_run_options(parser)


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        action="append",
        metavar="DATA",
        help="synthetic[:COUNT[:SEED]] or synthetic-scenes[:COUNT[:SEED]], or a file or folder of LSP, MPII, FLIC, "
        "COCO, DeepLabCut, DeepPoseKit, or a CSV of your own; may be repeated (default: synthetic)",
    )
    parser.add_argument(
        "--project",
        type=Path,
        help="a folder with a project.toml (see cpm-fast project): its labels "
        "are the --data, its next runs/train-N the --output, and its [train] has options",
    )
    parser.add_argument(
        "--find",
        action="store_true",
        help="train a finder, which locates the subjects of a picture, on the regions, boxes or parts of --data "
        "(default recipe: find; default preset: finder)",
    )
    parser.add_argument(
        "--backgrounds",
        type=Path,
        metavar="FOLDER",
        help="for --find: pictures without subjects, such as frames of an empty cage; they lie behind pasted subjects, "
        "and some scenes show them alone",
    )
    parser.add_argument(
        "--hold-out",
        action="append",
        type=int,
        metavar="N",
        help="hold out the last N samples of a --data for validation; one number for each --data, in order "
        "(default: 5 %% of each, at most 500)",
    )


def _add_network_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preset",
        default="compact",
        help="network: compact, small, base, large, cpm6, flic, vgg or mmpose (%(default)s)",
    )
    parser.add_argument(
        "--input-size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="the network's box in pixels, multiples of 8; larger is finer and slower (default: the preset's)",
    )
    parser.add_argument(
        "--width",
        type=float,
        metavar="FACTOR",
        help="multiply the preset's channels, rounded up to multiples of 16; wider is slower, and more accurate on "
        "large data",
    )
    parser.add_argument("--stages", type=int, metavar="T", help="default: the preset's")
    parser.add_argument(
        "--skeleton",
        help="parts of the network: lsp, mpii, flic, coco or a .toml file; those of each "
        "--data are matched by name (default: the parts of the first --data)",
    )
    parser.add_argument(
        "--init",
        metavar="FILE",
        help="weights to start from, a file or a bundled name; wider layers "
        "and more stages grow from them; layers that do not fit, for instance because the parts differ, "
        "start at random (start.txt lists them); or torchvision's VGG-19 for the trunk of the vgg preset",
    )


def _add_recipe_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe",
        help="modern, few, long, or paper: as released (paper-vgg: for the vgg preset); or a .json "
        "file with fields of TrainingConfig that override modern or the recipe that its field recipe "
        "names, such as a run's config.json (default: few, which starts from bundled weights, for up to 500 "
        "samples of your own; otherwise modern)",
    )
    parser.add_argument("--epochs", type=float, help="passes over the data (default: the recipe's)")
    parser.add_argument("--batch", type=int, help="samples per step, over all processes (default: the recipe's)")
    parser.add_argument(
        "--accumulate", type=int, metavar="N", help="take a batch in N pieces, for less memory (default: 1)"
    )
    parser.add_argument(
        "--recompute",
        action="store_true",
        help="run parts of the network again in the backward pass "
        "instead of keeping their maps: less memory, more time",
    )
    parser.add_argument("--learning-rate", type=float, help="default: the recipe's")
    parser.add_argument(
        "--loss",
        choices=("mask", "zero"),
        help="unlabeled parts: mask leaves them out of the loss, zero gives them maps of zeros as released (default: "
        "the recipe's)",
    )
    parser.add_argument(
        "--robust",
        type=float,
        metavar="C",
        help="for labels that may be wrong: reduce the weight of a part's "
        "squared error above C times that of a missed part, for instance 1 (default: 0)",
    )


def _add_augmentation_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scale", nargs=2, type=float, metavar=("MIN", "MAX"), help="range of random magnification (default: 0.7 1.3)"
    )
    parser.add_argument("--rotate", type=float, metavar="DEGREES", help="largest random rotation (default: 40)")
    parser.add_argument(
        "--mirror",
        type=float,
        metavar="PROBABILITY",
        help="probability of mirroring a sample; 0 if every subject faces the same way (default: 0.5)",
    )
    parser.add_argument(
        "--center-error",
        type=float,
        metavar="PX",
        help="largest random error of the center map's peak, box pixels (default: 0)",
    )
    parser.add_argument(
        "--color",
        type=float,
        metavar="SHARE",
        help="random changes of brightness, contrast and saturation by up to this share (default: 0)",
    )
    parser.add_argument(
        "--occlude", type=float, metavar="P", help="probability of a random rectangle over the picture (default: 0)"
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--average",
        type=float,
        metavar="DECAY",
        help="validate and keep a moving average of the "
        "weights with this decay per step, for instance 0.999 (default: 0, off)",
    )
    parser.add_argument(
        "--scheme",
        choices=("joint", "stagewise", "stagewise_then_joint", "final_only"),
        help="order in which stages learn, and their losses (default: joint, a loss at every stage)",
    )
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16"), help="precision of products (default: fp32)")
    parser.add_argument("--seed", type=int, help="seed of weights, order and augmentation (default: 0)")
    parser.add_argument("--workers", type=int, help="loader processes (default: one per core, at most 8)")
    parser.add_argument("--save-every", type=int, help="steps between checkpoints (default: 500)")
    parser.add_argument("--validate-every", type=float, help="epochs between validations (default: 1)")
    add_device_option(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-o", "--output", type=Path, help="run folder (default: runs/PRESET)")
    where.add_argument(
        "--resume", type=Path, metavar="RUN", help="resume a run; options not given come from its config"
    )
