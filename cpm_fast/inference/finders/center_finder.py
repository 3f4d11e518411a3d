"""Search for subjects by a finder of their centers, not of their sides: the released person network.

The steps are those of the release's demo. The picture is brought to the height of the pose network's box, 368 px, and
the map to the pixels of that picture. Every pixel whose belief is high, and the highest among its neighbors, is a
center. The pose network then looks at the square around each center that is as high as the picture; unlike in
`finders.finder`, it has no say in who is a subject.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from cpm_fast.config import STRIDE, NetworkConfig
from cpm_fast.engine import Engine
from cpm_fast.inference.finders.finder import Candidate, maps_of, shrunk
from cpm_fast.inference.finders.search import Search
from cpm_fast.inference.parts import Sighting
from cpm_fast.inference.settings import Settings
from cpm_fast.model.decode import scale_frames
from cpm_fast.ops.many_peaks import many_peaks
from cpm_fast.ops.resize_merge import resize_merge
from cpm_fast.roi import RELEASE_BOX_PX, Roi
from cpm_fast.system.torch_settings import cpu_threads

# Pictures more than four times as wide as high are seen smaller, so that the memory has a bound.
LONGEST_PX = 4 * round(RELEASE_BOX_PX)
# A peak is the highest of 3 x 3 pixels.
RADIUS_PX = 1
# More are not looked at: each costs a pass of the pose network.
MOST_CENTERS = 64


@dataclass(frozen=True, eq=False)
class CenterFinder:
    """A finder of centers with the limits of its search.

    Args:
        engine: of the finder.
        search: limits; its `min_find_score` is the belief that a center is above.
    """

    engine: Engine
    search: Search

    def longer_px(self, config: NetworkConfig) -> int:
        """Return the longer side of the largest picture that the finder sees."""
        del config
        return LONGEST_PX

    def sightings(self, engine: Engine, settings: Settings, image: np.ndarray) -> list[Sighting]:
        """Return the subjects in an image [H, W, 3] uint8 BGR, best first."""
        del engine
        with cpu_threads(settings.threads):
            found = centers(self.engine, image, self.search.min_find_score)
        return [Sighting(one.roi) for one in found[: self.search.max_subjects]]


def centers(engine: Engine, image: np.ndarray, least: float) -> list[Candidate]:
    """Return the peaks of the map of an image as regions as high as the image, best first, at most MOST_CENTERS.

    The release resizes by cubics alone and takes the nearest pixel. Here pictures shrink by averages over areas and
    grow linearly, and a peak lies at the vertex of the parabola through its neighbors.

    Args:
        engine: of a finder.
        image: [H, W, 3] uint8 BGR.
        least: belief that a peak is above.
    """
    height, width = image.shape[:2]
    longer = round(RELEASE_BOX_PX * max(height, width) / height)
    picture, across, down = shrunk(image, min(longer, LONGEST_PX))
    with torch.inference_mode():
        # Frames are float64, which not every device has, and the map is small.
        maps = maps_of(engine, picture)[:, :1].cpu()
        # resize_merge takes the last map for a background.
        maps = F.pad(maps, (0, 0, 0, 0, 0, 1))[:, None]  # [1, 1, 2, h, w]
        size = (STRIDE * maps.shape[-2], STRIDE * maps.shape[-1])
        belief = resize_merge(maps, scale_frames((1.0,), engine.config), size)  # [1, 2, H, W]
        points, scores = (each[0].numpy() for each in many_peaks(belief[:, 0].contiguous(), least, RADIUS_PX))
    # Beyond the picture, where it is filled up to whole cells, there is nobody.
    there = (scores > least) & (points <= (picture.shape[1] - 1, picture.shape[0] - 1)).all(axis=1)
    peaks = zip(points[there].tolist(), scores[there].tolist(), strict=True)
    side = RELEASE_BOX_PX * down
    found = [(Roi(((x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5), side), score) for (x, y), score in peaks]
    return [Candidate(roi.on_grid(), score) for roi, score in found[:MOST_CENTERS]]
