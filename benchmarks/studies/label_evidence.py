"""Evidence of networks about labels: their mean beliefs at every label, and where the sides would be exchanged.

A wrong label has a low belief. A label whose side is exchanged has a low belief in the map of its own part, and a high
one in the map of the other side. The mean over scales and mirrored crops is low where the passes do not agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from cpm_fast.data.sample import Dataset
from cpm_fast.engine import Engine
from cpm_fast.evaluation.network import SampleReader
from cpm_fast.model.cpm import CPM
from cpm_fast.model.crops import network_input, scale_crops
from cpm_fast.model.decode import scale_frames, unmirror
from cpm_fast.ops.peaks import peaks
from cpm_fast.ops.resize_merge import resize_merge
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.progress import bar_wanted

# The magnifications of the passes; each pass runs on the plain and on the mirrored crop.
SCALES = (0.9, 1.1)


@dataclass(frozen=True, eq=False)
class Evidence:
    """Labels of M samples with P parts, and the beliefs of networks there.

    Args:
        indices: [M] of the samples in their dataset.
        labels: [M, P, 2] image pixels, NaN where not labeled.
        own: [M, P] the belief of each part at its label; 0 where it is not labeled.
        other: [M, P] the belief of each part at the label of the other side; 0 where that is not labeled.
        points: [M, P, 2] the peaks, image pixels.
        heights: [M, P] of the peaks.
    """

    indices: list[int]
    labels: np.ndarray
    own: np.ndarray
    other: np.ndarray
    points: np.ndarray
    heights: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Which parts are labeled, [M, P]."""
        return np.isfinite(self.labels).all(axis=2)

    def off(self, skeleton: Skeleton) -> np.ndarray:
        """Return the distance of every label from the peak, in torsos (left shoulder to right hip): [M, P].

        A wrong label of shoulder or hip would falsify all distances, so the torso is the longer one of labels and
        peaks.
        """
        a, b = skeleton.index("left_shoulder"), skeleton.index("right_hip")
        found, labeled = (np.linalg.norm(one[:, a] - one[:, b], axis=-1) for one in (self.points, self.labels))
        torsos = np.maximum(np.fmax(found, labeled), 1.0)
        return np.linalg.norm(self.points - self.labels, axis=-1) / torsos[:, None]


def evidence(models: Sequence[CPM], dataset: Dataset, indices: Sequence[int], precision: str = "auto") -> Evidence:
    """Return the evidence of some networks, of the dataset's parts and with boxes of one size, in some samples."""
    engines, config = [Engine(model, precision=precision) for model in models], models[0].config
    mirror = list(dataset.skeleton.mirror)
    for model in models:
        if (model.skeleton.names, model.config.input_size) != (dataset.skeleton.names, config.input_size):
            raise ValueError(
                f"networks must have the parts of {dataset.name} and boxes of {config.input_size}, got "
                f"{list(model.skeleton.names)} and {model.config.input_size}"
            )
    frames = scale_frames(SCALES, config, flip=True).repeat(len(engines), 1)
    reader, shown = SampleReader(dataset, indices), bar_wanted(None, len(indices), 1)
    # Arrays for all samples: small ones that stay would lie between the maps, and their memory could not be used again.
    own, other, heights = (np.empty((len(indices), config.parts)) for _ in range(3))
    points = np.empty((len(indices), config.parts, 2))
    for row, sample in enumerate(tqdm(reader, total=len(indices), unit="sample", leave=False, disable=not shown)):
        region = sample.region(config.margin)
        inputs = network_input(scale_crops(sample.image, region, config, SCALES, flip=True), config)
        with torch.inference_mode():
            maps = torch.cat([_unmirrored(engine(inputs)[-1].float(), dataset.skeleton) for engine in engines])
            mean = resize_merge(maps[None], frames, config.input_size)[:, : config.parts]
            (points_box,), (heights[row],) = (values.double().numpy() for values in peaks(mean, refine=True))
        labels_box = region.to_box(reader.parts_image[-1], config.input_size)
        own[row], other[row] = (_values_at(mean[0].numpy(), places) for places in (labels_box, labels_box[mirror]))
        points[row] = region.to_image(points_box, config.input_size)
    count = len(reader.indices)
    if not count:
        raise ValueError(f"{dataset.name}: none of {len(indices)} samples could be read")
    return Evidence(reader.indices, reader.truth(), own[:count], other[:count], points[:count], heights[:count])


def _unmirrored(maps: torch.Tensor, skeleton: Skeleton) -> torch.Tensor:
    """Return maps [2 S, P+1, h, w] of S plain and S mirrored crops, these mirrored back."""
    plain, mirrored = maps.chunk(2)
    return torch.cat([plain, unmirror(mirrored, skeleton)])


def _values_at(maps: np.ndarray, points_box: np.ndarray) -> np.ndarray:
    """Return the value of each of P maps [P, H, W] at its point [P, 2], 0 where that is NaN or outside: [P]."""
    size = np.array(maps.shape[:0:-1])
    inside = np.all((points_box > -0.5) & (points_box < size - 0.5), axis=1, keepdims=True)
    x, y = np.where(inside, np.rint(points_box), 0).astype(int).T
    return np.where(
        inside[:, 0], maps[np.arange(len(maps)), np.minimum(y, size[1] - 1), np.minimum(x, size[0] - 1)], 0.0
    )
