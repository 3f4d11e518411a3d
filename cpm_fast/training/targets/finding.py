"""Targets and loss of a finder: belief in the subjects' centers, and their sides around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from cpm_fast.config import SIDE_UNIT_PX, STRIDE, NetworkConfig
from cpm_fast.data.scenes.loader import SceneBatch

# Standard deviation of a center's Gaussian over the subject's side, and its limits in box pixels: a peak must show
# on a map of 8 px cells, and two people who stand side by side must have one each.
SIGMA_SHARE, SIGMA_PX = 0.055, (6.0, 18.0)
# The side is learned where the belief is above this.
CERTAIN = 0.5
# Weight of the sides' squared errors, which are in octaves.
SIDE_WEIGHT = 0.3
# Weight of cells outside all subjects' squares in pictures that may show other, unlabeled subjects.
DOUBT_WEIGHT = 0.3


@dataclass(frozen=True)
class FinderTargets:
    """Ideal maps, and the weights of their cells.

    Args:
        maps: [N, 2, h, w] float32: belief in a center, and log2 of the side over `SIDE_UNIT_PX`.
        weights: [N, 2, h, w] float32, on the squared errors.
    """

    maps: torch.Tensor
    weights: torch.Tensor

    def without_counts(self) -> FinderTargets:
        """Return the same maps with weights of 0."""
        return replace(self, weights=torch.zeros_like(self.weights))

    def losses(self, maps: Sequence[torch.Tensor], samples: int | None, robust: float) -> torch.Tensor:
        """Return the loss of each stage, [T]: weighted squared errors, summed, over 2 N (Wei et al. 2016, Eq. 4).

        Args:
            maps: T tensors [n, 2, h, w].
            samples: N, where the n are a piece of a larger batch; n if not given.
            robust: of the pose networks' loss; a finder has none.
        """
        del robust
        count = 2 * (len(maps[0]) if samples is None else samples)
        return torch.stack([((one.float() - self.maps).square() * self.weights).sum() / count for one in maps])

    @property
    def shown(self) -> torch.Tensor:
        """The map [N, h, w] to draw in pictures of a batch."""
        return self.maps[:, 0] * (self.weights[:, 0] > 0)


def finder_targets(batch: SceneBatch, network: NetworkConfig) -> FinderTargets:
    """Compute the targets of a batch on its device.

    A cell's side is that of the subject whose belief is highest there. Within the squares of those who do not count,
    cells that are not near a subject have no weight.
    """
    h, w = network.map_size
    device = batch.crops.device
    y = torch.arange(h, device=device)[:, None] * STRIDE + network.cell_offset
    x = torch.arange(w, device=device)[None, :] * STRIDE + network.cell_offset
    middles = batch.subjects_box[..., None, None]  # [N, K, 3, 1, 1]
    sides = batch.subjects_box[..., 2]  # [N, K]
    there = (sides > 0)[..., None, None]
    sigma = (SIGMA_SHARE * sides).clamp(*SIGMA_PX)[..., None, None]
    squared = (x - middles[:, :, 0]) ** 2 + (y - middles[:, :, 1]) ** 2  # [N, K, h, w]
    each = torch.exp(-squared / (2 * sigma**2)) * there
    # A last subject of no belief stands for none.
    each = torch.cat([each, torch.zeros_like(each[:, :1]) if each.shape[1] else each.new_zeros(len(each), 1, h, w)], 1)
    belief, owner = each.max(dim=1)  # [N, h, w]
    octaves = torch.where(sides > 0, torch.log2(sides.clamp_min(1.0) / SIDE_UNIT_PX), 0.0)
    octaves = torch.cat([octaves, octaves.new_zeros(len(octaves), 1)], dim=1)
    side = octaves.gather(1, owner.flatten(1)).view_as(belief)
    counts = torch.where(batch.doubtful[:, None, None] & ~_cells_within(batch.subjects_box, x, y), DOUBT_WEIGHT, 1.0)
    counts = counts * ~(_cells_within(batch.ignored_box, x, y) & (belief < CERTAIN))
    weights = torch.stack([counts, SIDE_WEIGHT * (belief > CERTAIN).float()], dim=1)
    return FinderTargets(torch.stack([belief, side], dim=1), weights)


def _cells_within(squares: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return which cells, at x [1, w] and y [h, 1] box pixels, lie in one of the squares [N, K, 3]: [N, h, w]."""
    away_x = (x - squares[..., 0:1, None]).abs()  # [N, K, 1, w]
    away_y = (y - squares[..., 1:2, None]).abs()
    return ((away_x <= squares[..., 2:3, None] / 2) & (away_y <= squares[..., 2:3, None] / 2)).any(dim=1)
