"""Annotated pictures of noise, and networks that are given their parts."""

import numpy as np
import torch

from cpm_fast.config import Conv, NetworkConfig
from cpm_fast.data.sample import Sample
from cpm_fast.model.cpm import CPM
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP, Skeleton
from support.small_network import TINY_LAYERS

SMALL = {
    **TINY_LAYERS,
    "stages": 2,
    "input_size": (64, 64),
    "first": (Conv(1, 4),),
    "pool_kernel": 2,
    "center_pool": 8,
    "init_std": None,
}
FLY = Skeleton("fly", ("head", "left_wing", "right_wing"), pairs=(("left_wing", "right_wing"),))


class Figures:
    """Pictures of noise with parts in their middle; `broken` ones can't be read, `without` lack a right hip.

    `more` are further fields of every sample, `names` their names.
    """

    def __init__(self, count=6, skeleton=LSP, broken=(), without=(), names=None, more=None):
        random = np.random.default_rng(0)
        self.name = "figures"
        self.skeleton = skeleton
        self.parts_image = random.uniform((25, 35), (65, 85), (count, len(skeleton), 2))
        if "right_hip" in skeleton.names:  # a torso of 54 px
            self.parts_image[:, skeleton.index("left_shoulder")] = 60, 30
            self.parts_image[:, skeleton.index("right_hip")] = 30, 75
        self.images = random.integers(0, 255, (count, 120, 90, 3), dtype=np.uint8)
        self.broken = broken
        self.names = names or [f"figure {index}" for index in range(count)]
        self.more = more or [{}] * count
        if without:
            self.parts_image[list(without), skeleton.index("right_hip")] = np.nan

    def __len__(self):
        return len(self.parts_image)

    def __getitem__(self, index):
        if index in self.broken:
            raise OSError(f"figure {index} is torn")
        parts = self.parts_image[index]
        labeled = np.isfinite(parts).all(axis=1)
        return Sample(self.images[index], parts, labeled, Roi((45, 60), 110), self.names[index], **self.more[index])


class Knowing(CPM):
    """A network that paints a Gaussian at each part, in the order of crops; stage 1 is off by this many box pixels."""

    def __init__(self, dataset, roi_of, pyramid=(1.0,), flip=False, first_stage_off=30.0, skeleton=LSP):
        super().__init__(NetworkConfig(**SMALL, skeleton=skeleton))
        self.parts_box, self.seen, self.off = [], 0, first_stage_off
        size = self.config.input_size
        order = [dataset.skeleton.index(name) for name in skeleton.names]
        for index in range(len(dataset)):
            if index not in dataset.broken:
                parts = dataset.parts_image[index][order]
                crops = [roi_of(index).zoomed(factor).to_box(parts, size) for factor in pyramid]
                mirrored = [(np.array([size[1] - 1, 0]) + crop * (-1, 1))[list(skeleton.mirror)] for crop in crops]
                self.parts_box += crops + (mirrored if flip else [])

    def forward(self, crops, center_map=None):
        assert not self.training
        cells = 8.0 * np.arange(8) + 3.5
        beliefs = []
        for off in (self.off, 0.0):
            parts = np.stack(self.parts_box[self.seen : self.seen + len(crops)]) + off  # [N, P, 2]
            across, down = np.exp(-((cells - parts[..., None]) ** 2) / (2 * 9.0**2)).transpose(2, 0, 1, 3)
            maps = down[..., :, None] * across[..., None, :]  # [N, P, h, w]
            beliefs.append(torch.from_numpy(np.concatenate([maps, 1 - maps.max(1, keepdims=True)], 1)).float())
        self.seen += len(crops)
        return beliefs
