"""Soft targets: beliefs of a trained network, mixed into the targets of another (Hinton et al. 2015)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from cpm_fast.config import NetworkConfig
from cpm_fast.data.loader import Batch
from cpm_fast.engine import Engine
from cpm_fast.model.cpm import CPM
from cpm_fast.model.crops import network_input
from cpm_fast.model.files import load_model
from cpm_fast.training.targets.loss import Targets
from cpm_fast.weights import weights_file


class Teacher:
    """A trained network that is run on the student's crops, plain and mirrored.

    Its box may be of another size: crops are brought to its size and its maps to the student's.

    Args:
        model: trained, of the same parts; stays as it is.
        student: the network that learns.
        share: of its beliefs in the targets, above 0 and at most 1.

    Raises:
        ValueError: its parts, its background or the shape of its box are not the student's.
    """

    def __init__(self, model: CPM, student: NetworkConfig, share: float) -> None:
        self.config, self.student, self.share = model.config, student, share
        if self.config.skeleton.names != student.skeleton.names or self.config.background != student.background:
            raise ValueError(
                f"teacher must have the parts {list(student.skeleton.names)} and background {student.background}, "
                f"got {list(self.config.skeleton.names)} and {self.config.background}"
            )
        (height, width), (own_height, own_width) = self.config.input_size, student.input_size
        if height * own_width != width * own_height:
            raise ValueError(
                f"teacher must have a box of the shape of {student.input_size}, got {self.config.input_size}"
            )
        mirror = list(student.skeleton.mirror)
        self.mirror = [*mirror, len(mirror)] if student.background else mirror
        self.engine = Engine(model)

    @classmethod
    def load(cls, path_or_name: str | Path, student: NetworkConfig, share: float, device: torch.device) -> Teacher:
        """Read a teacher; errors as for `load_model` and above."""
        return cls(load_model(weights_file(path_or_name)).to(device), student, share)

    def beliefs(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the last stage's beliefs, the mean of plain and mirrored crops.

        Args:
            crops: [N, H, W, 3] uint8 BGR, of the student's box.

        Returns:
            [N, P+1, h, w] float32 on the student's map.
        """
        plain = network_input(crops, self.config)
        if self.config.input_size != self.student.input_size:
            plain = F.interpolate(plain, self.config.input_size, mode="bilinear", align_corners=False)
        with torch.no_grad():
            both = self.engine(torch.cat([plain, plain.flip(3)]))[-1]
        straight, mirrored = both.split(len(crops))
        mean = (straight + mirrored.flip(3)[:, self.mirror]) / 2
        if self.config.map_size != self.student.map_size:
            mean = F.interpolate(mean, self.student.map_size, mode="bicubic", align_corners=False)
        return mean

    def softened(self, targets: Targets, batch: Batch) -> Targets:
        """Return the targets of the later stages mixed with its beliefs; unlabeled parts have its beliefs alone.

        Those count by its share. Stage 1 keeps its targets, which are everyone's.
        """
        beliefs = self.beliefs(batch.crops).clamp(0, 1)
        known = targets.subject_counts[:, :, None, None]
        mixed = torch.lerp(targets.subject, beliefs, self.share)
        return replace(
            targets,
            subject=known * mixed + (1 - known) * beliefs,
            subject_counts=targets.subject_counts + (1 - targets.subject_counts) * self.share,
        )
