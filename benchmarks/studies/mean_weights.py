"""The mean of several networks' weights: python benchmarks/studies/mean_weights.py FIRST SECOND [...] --out MEAN.

For the last weights of trainings that follow one another, each from the end of the one before. If no hill of the loss
lies between them, the mean is often better than each (Wortsman et al. 2022, arXiv:2203.05482); so look at its scores.
The means and variances of batch normalization are averaged too. Numbers are stored in the precision of the first file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from cpm_fast.config import NetworkConfig  # noqa: E402
from cpm_fast.model.tensor_file import network_config, read_tensors, write_network  # noqa: E402


def mean_weights(paths: Sequence[Path]) -> tuple[dict[str, torch.Tensor], NetworkConfig]:
    """Return the mean of every tensor of numbers over files, the first file's other tensors, and the network.

    Raises:
        ValueError: the files are of different networks.
    """
    read = [read_tensors(path, "network") for path in paths]
    networks = [network_config(path, metadata) for path, (_, metadata) in zip(paths, read, strict=True)]
    first = read[0][0]
    for path, network in zip(paths, networks, strict=True):
        if network != networks[0]:
            raise ValueError(f"{path}: must be of the network of {paths[0]}, got another one")
    means = {
        name: torch.stack([tensors[name].double() for tensors, _ in read]).mean(dim=0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.items()
    }
    return means, networks[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when done."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, help="weights, .safetensors")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    chosen = parser.parse_args(arguments)
    means, network = mean_weights(chosen.files)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    write_network(means, network, chosen.out)
    print(f"wrote {chosen.out}, the mean of {len(chosen.files)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
