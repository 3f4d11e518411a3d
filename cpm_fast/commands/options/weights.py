"""Options of cpm-fast import and export."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_import_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of cpm-fast import."""
    parser.add_argument(
        "file",
        type=Path,
        help="a .caffemodel of the released networks (MPII, LSP, FLIC, VGG, person), or "
        "a checkpoint of mmpose's CPM (.pth, .safetensors)",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--preset", help="cpm6, flic, vgg, person or mmpose (default: by the names in the file)")
    parser.add_argument(
        "--skeleton",
        help="part names: a .toml file, or one of lsp, mpii, flic, coco and jhmdb (default: by the number of parts)",
    )
    parser.add_argument(
        "--input-size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="mmpose: box in pixels (default: 368 368, for COCO 256 192)",
    )
    parser.add_argument("--fold-norm", action="store_true", help="mmpose: fold batch normalization into the weights")


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of cpm-fast export."""
    parser.add_argument("model", help="weights: a .safetensors file or a bundled name")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the file to write: .onnx, or .pt2 of torch.export"
    )
    parser.add_argument("--opset", type=int, metavar="N", help="ONNX opset (default: PyTorch's own, now 20)")
    parser.add_argument("--fp16", action="store_true", help="ONNX: weights and arithmetic in half precision")
    parser.add_argument("--decode", action="store_true", help="output key points in box pixels and scores, not beliefs")
