"""The description of a network, and the networks that have a name."""

from cpm_fast.config.network import CENTER, MAX_KERNEL, SIDE_UNIT_PX, STRIDE, Conv, NetworkConfig
from cpm_fast.config.presets import PRESETS, base, compact, finder, large, mmpose, person, preset, small, vgg, widened

__all__ = [
    "CENTER",
    "MAX_KERNEL",
    "PRESETS",
    "SIDE_UNIT_PX",
    "STRIDE",
    "Conv",
    "NetworkConfig",
    "base",
    "compact",
    "finder",
    "large",
    "mmpose",
    "person",
    "preset",
    "small",
    "vgg",
    "widened",
]
