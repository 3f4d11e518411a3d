"""The findings of an importer: the layer of a network of ours for each array of a foreign file."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cpm_fast.config import NetworkConfig


@dataclass(frozen=True)
class MappedConv:
    """A convolution of ours and the origin of its weights.

    Args:
        layer: its name.
        source: its name in the file; the first of its possible names.
        shape: of its weight in our network.
        problem: the reason if it could not be filled; empty if it was.
    """

    layer: str
    source: str
    shape: tuple[int, ...]
    problem: str = ""


@dataclass
class Mapping:
    """The network that a file holds, and its weights under our names.

    Args:
        layout: the file's names and order.
        config: the network.
        tensors: for the network's state_dict, of the rows without a problem.
        rows: one per convolution, in the order they run.
        unused: other contents of the file.
    """

    layout: str
    config: NetworkConfig
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    rows: list[MappedConv] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[MappedConv]:
        return [row for row in self.rows if row.problem]

    def table(self) -> str:
        """Format a line per convolution: ours, theirs, the weight's shape, and its problem."""
        wide = max(len(row.layer) for row in self.rows)
        lines = [f"{'layer':<{wide}}  {'from':<24} weight"]
        for row in self.rows:
            shape = "x".join(str(side) for side in row.shape)
            lines.append(f"{row.layer:<{wide}}  {row.source:<24} {shape:<14} {row.problem}".rstrip())
        return "\n".join(lines)
