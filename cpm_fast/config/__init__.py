"""The description of a network, and the networks that have a name."""

from cpm_fast.config.network import STRIDE, Conv, NetworkConfig
from cpm_fast.config.presets import PRESETS, base, compact, large, mmpose, preset, small, vgg, widened

__all__ = [
    "PRESETS",
    "STRIDE",
    "Conv",
    "NetworkConfig",
    "base",
    "compact",
    "large",
    "mmpose",
    "preset",
    "small",
    "vgg",
    "widened",
]
