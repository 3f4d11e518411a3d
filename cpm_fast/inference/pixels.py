"""Pictures read no finer than the network's crops show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cpm_fast.config import NetworkConfig
from cpm_fast.engine import Engine
from cpm_fast.inference.asking import Looks, looked
from cpm_fast.inference.parts import Sighting
from cpm_fast.inference.settings import Settings
from cpm_fast.media.image import Picture
from cpm_fast.media.sources import Source
from cpm_fast.model.crops import reduction_at
from cpm_fast.roi import Roi

LARGEST_REDUCTION = 8
# To look for subjects: half takes 0.4 of the time of a whole JPEG, an eighth 0.3, and half is fine enough for the crops
# of most subjects, so that the picture is not read again.
LOOKING_REDUCTION = 2


def reduction_for(rois: Sequence[Roi], config: NetworkConfig, pyramid: Sequence[float]) -> int:
    """Return the reduction at which no crop of the regions loses anything: all crops are reduced as much anyway."""
    if not rois:
        return 1
    finest = max(roi.magnification(config.input_size) for roi in rois) * max(pyramid)
    return min(LARGEST_REDUCTION, reduction_at(finest))


def read_whole(source: Source, config: NetworkConfig, pyramid: Sequence[float]) -> Picture:
    """Read an image whose crops show all of it."""
    return source.picture(lambda longer: reduction_for([Roi.whole_image(longer, longer)], config, pyramid))


def read_for(source: Source, rois: Sequence[Roi], config: NetworkConfig, pyramid: Sequence[float]) -> Picture:
    """Read an image for the crops of regions, which are in its own pixels."""
    return source.picture(lambda _: reduction_for(rois, config, pyramid))


def read_to_look(source: Source, longer_px: int | None) -> Picture:
    """Read an image to look for subjects, its longer side at least so long, if it is; None: at its own size."""
    if longer_px is None:
        return source.picture()
    return source.picture(lambda longer: LOOKING_REDUCTION if longer >= LOOKING_REDUCTION * longer_px else 1)


def sightings_in(picture: Picture, looks: Looks, engine: Engine, settings: Settings, name: str) -> list[Sighting]:
    """Return the subjects in a picture, with regions in its own pixels, best first; errors name the picture."""
    found = looked(looks, engine, settings, picture.pixels, name)
    return [replace(one, roi=one.roi.reduced(1 / picture.reduction)) for one in found]


def fine_enough(
    picture: Picture, source: Source, rois: Sequence[Roi], config: NetworkConfig, pyramid: Sequence[float]
) -> Picture:
    """Return a picture, read again from its source where the crops of its regions show more than was read."""
    needed = reduction_for(rois, config, pyramid)
    return source.picture(lambda _: needed) if rois and needed < picture.reduction else picture
