"""The network in its form for export: plain operations, folded normalization, with or without decoding."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from cpm_fast.config import STRIDE
from cpm_fast.model.cpm import CPM, ReferenceWalk, middle_center_map
from cpm_fast.model.layers import CENTER, CPM_STAGE_OUTPUT, IMAGE
from cpm_fast.model.walk import center_pool
from cpm_fast.reference.peaks import peaks
from cpm_fast.reference.resize_merge import resize_merge
from cpm_fast.roi import Frame
from cpm_fast.weights.fold import folded

INPUT = "crops"


class Portable(nn.Module):
    """The last stage of a network with its subject in the middle of the box: beliefs, or key points.

    It runs by the reference alone, where every op is a plain function over PyTorch's own.

    Args:
        model: copied.
        decode: whether the beliefs are decoded to key points, as for one crop without mirroring.
    """

    def __init__(self, model: CPM, decode: bool = False) -> None:
        super().__init__()
        self.model = folded(model).requires_grad_(False)
        self.config = model.config
        self.decode = decode
        frame = Frame.of_crop(self.config.input_size, STRIDE, self.config.cell_offset)
        self.register_buffer("frames", torch.tensor([dataclasses.astuple(frame)], dtype=torch.float64))
        # Pooled here: runtimes divide by different areas where an averaging window is clipped.
        center = middle_center_map(self.config, self.config.input_size)
        pool = next((layer for layer in self.model.layers if layer.kind == "center_pool"), None)
        self.register_buffer("center", center if pool is None else center_pool(pool, center))

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("parts_box", "scores") if self.decode else ("beliefs",)

    def forward(self, crops: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Compute beliefs [N, P+1, h, w]; or parts_box [N, P, 2], (x, y) pixels of the box, and scores [N, P].

        Args:
            crops: [N, 3, H, W] normalized network input of the configured size.
        """
        beliefs = self.beliefs(crops)
        return peaks(self.merged(beliefs), True) if self.decode else beliefs

    def beliefs(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the belief maps of the last stage: [N, P+1, h, w]."""
        center = self.center
        assert isinstance(center, torch.Tensor)
        # Not len(), which a tracer takes for a constant.
        maps = {IMAGE: crops, CENTER: center.expand(crops.shape[0], *center.shape[1:])}
        ReferenceWalk(self.model).over(self.model.layers, maps)
        return maps[CPM_STAGE_OUTPUT.format(self.config.stages)]

    def merged(self, beliefs: torch.Tensor) -> torch.Tensor:
        """Compute the beliefs of the parts at the pixels of the box: [N, P, H, W]."""
        if not self.config.background:
            # The last map counts as background where the frame leaves the map.
            beliefs = F.pad(beliefs, (0, 0, 0, 0, 0, 1))
        frames = self.frames
        assert isinstance(frames, torch.Tensor)
        return resize_merge(beliefs[:, None], frames, self.config.input_size)[:, : self.config.parts]
