"""Targets of every stage, and the loss of Wei et al. 2016, Eq. 4 and Eq. 5."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from cpm_fast.config import STRIDE, NetworkConfig
from cpm_fast.data.loader import Batch
from cpm_fast.ops.gaussian_targets import gaussian_targets


@dataclass(frozen=True)
class Targets:
    """Ideal belief maps, and their weights.

    Stage 1 sees only the picture and learns everyone's parts; later stages have the center map and learn the subject's.

    Args:
        everyone: [N, P+1, h, w] float32, for stage 1.
        subject: [N, P+1, h, w] float32, for the later stages.
        everyone_counts, subject_counts: [N, P+1] float32, 1 or 0 for each map.
        background: whether the last map is the background's.
    """

    everyone: torch.Tensor
    subject: torch.Tensor
    everyone_counts: torch.Tensor
    subject_counts: torch.Tensor
    background: bool = True

    def without_counts(self) -> Targets:
        """Return the same maps with weights of 0."""
        nothing = torch.zeros_like(self.subject_counts)
        return replace(self, everyone_counts=nothing, subject_counts=nothing)

    def losses(self, beliefs: Sequence[torch.Tensor], samples: int | None, robust: float) -> torch.Tensor:
        """Return the loss of each stage; see `stage_losses`."""
        return stage_losses(beliefs, self, samples, robust)

    @property
    def shown(self) -> torch.Tensor:
        """The map [N, h, w] to draw in pictures of a batch: the highest of the subject's beliefs."""
        parts = self.subject[:, :-1] if self.background else self.subject
        return parts.amax(dim=1)


def make_targets(
    batch: Batch, network: NetworkConfig, part_sigma: float, loss_mode: Literal["zero", "mask"]
) -> Targets:
    """Compute the targets of a batch on its device.

    In mode "zero" an unlabeled part is a map of zeros that counts, as released. In mode "mask" its map does not
    count, nor does the background of that sample, which would be high at the part. A part that is labeled outside the
    picture is known to be absent, so its empty map counts.
    """
    size = network.map_size
    everyone = gaussian_targets(batch.parts_box, batch.drawn, size, part_sigma, STRIDE)
    subject = gaussian_targets(batch.parts_box[:, :1], batch.drawn[:, :1], size, part_sigma, STRIDE)
    known = batch.known if loss_mode == "mask" else torch.ones_like(batch.known)
    maps = network.maps
    counts, own_counts = _counts(known, maps), _counts(known[:, :1], maps)
    return Targets(everyone[:, :maps], subject[:, :maps], counts, own_counts, network.background)


def _counts(known: torch.Tensor, maps: int) -> torch.Tensor:
    """Return which maps count [N, maps] float32, by the known parts [N, K, P] bool."""
    parts = known.all(dim=1)
    return torch.cat([parts, parts.all(dim=1, keepdim=True)], dim=1)[:, :maps].float()


def missed_part(part_sigma: float) -> float:
    """Return the squared error, summed over cells, of a map of zeros where a part is; `part_sigma` in box pixels."""
    return math.pi * (part_sigma / STRIDE) ** 2


def stage_losses(
    beliefs: Sequence[torch.Tensor], targets: Targets, samples: int | None = None, robust: float = 0.0
) -> torch.Tensor:
    """Compute the loss of each stage, [T]; their sum is the training loss (Wei et al. 2016, Eq. 5).

    Each is Eq. 4 in the release's scale: the squared error summed over maps and cells, over 2 N. An all-zero
    prediction of 14 parts on 46 x 46 cells costs about 1030.

    Args:
        beliefs: T tensors [n, P+1, h, w].
        targets: of these n samples.
        samples: N, where the n are a piece of a larger batch; n if not given.
        robust: c. If not 0, the squared error s of a part's map counts as c log(1 + s / c) (Cauchy's loss): one far
            above c, as where a confident network and a wrong label disagree, pulls c / (c + s) as hard. The
            background's map stays as it is.
    """
    losses = []
    for stage, belief in enumerate(beliefs, 1):
        target, counts = (
            (targets.everyone, targets.everyone_counts) if stage == 1 else (targets.subject, targets.subject_counts)
        )
        belief = belief.to(torch.promote_types(belief.dtype, target.dtype))
        squares = (belief - target).square().sum(dim=(2, 3))  # [N, P+1]
        if robust:
            parts, background = squares.split([squares.shape[1] - targets.background, int(targets.background)], dim=1)
            squares = torch.cat([robust * torch.log1p(parts / robust), background], dim=1)
        losses.append((squares * counts).sum() / (2 * (len(belief) if samples is None else samples)))
    return torch.stack(losses)
