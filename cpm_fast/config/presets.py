"""The networks that have a name: the paper's, those of other releases, and ours in four sizes."""

from __future__ import annotations

import dataclasses
import math

from cpm_fast.config.network import CENTER, MOST_CHANNELS, Conv, NetworkConfig
from cpm_fast.skeleton import FLIC, LSP, MPII, Skeleton
from cpm_fast.system.numbers import is_finite
from cpm_fast.system.words import meant

# Channels that the kernels compute at once.
CHANNELS_BLOCK = 16


def compact(skeleton: Skeleton = LSP) -> NetworkConfig:
    """Return our network for a CPU: small kernels early, one trunk, 192 px box, 2x2 pools (mirror-symmetric)."""
    return NetworkConfig(
        skeleton=skeleton,
        stages=3,
        input_size=(192, 192),
        trunk=((Conv(3, 16),), (Conv(3, 32),), (Conv(3, 64),)),
        tail=(Conv(3, 96), Conv(3, 96), Conv(3, 96)),
        shared_trunk=True,
        features=(Conv(1, 32),),
        first=(Conv(7, 48), Conv(1, 128)),
        refine=(Conv(7, 32), Conv(7, 32), Conv(7, 32), Conv(1, 64)),
        pool_kernel=2,
        center_sigma=11.0,
        center_pool=8,
        norm="batch",
        dropout=0.0,
        init_std=None,
        # Median on LSP of the training rule's side over the joints' box, 1.52, less what head and feet add to a box.
        margin=1.4,
    )


def small(skeleton: Skeleton = LSP) -> NetworkConfig:
    """Return our small network: as fast as `compact` at 256 px, with residual blocks and one more stage; 1.5 MB."""
    return dataclasses.replace(
        compact(skeleton),
        stages=4,
        input_size=(256, 256),
        tail=(Conv(3, 64), Conv(5, 64), Conv(5, 64, add=2)),
        refine=(Conv(5, 32), Conv(5, 32), Conv(5, 32, add=2), Conv(5, 32), Conv(1, 64)),
        center_sigma=14.5,
    )


def base(skeleton: Skeleton = LSP) -> NetworkConfig:
    """Return our base network: the one of `wide-lsp`, from which it grows, with wider layers; 6 MB in 16 bits."""
    return dataclasses.replace(
        compact(skeleton),
        stages=4,
        input_size=(256, 256),
        trunk=((Conv(3, 32),), (Conv(3, 64),), (Conv(3, 96),)),
        tail=(Conv(3, 176), Conv(3, 176), Conv(3, 176)),
        features=(Conv(1, 48),),
        first=(Conv(7, 96), Conv(1, 240)),
        refine=(Conv(7, 64), Conv(7, 64), Conv(7, 64), Conv(1, 128)),
    )


def large(skeleton: Skeleton = LSP) -> NetworkConfig:
    """Return our large network: five stages of 9x9 and a larger box, 40 ms; 18 MB in 16 bits."""
    return dataclasses.replace(
        compact(skeleton),
        stages=5,
        input_size=(320, 320),
        trunk=((Conv(3, 32),), (Conv(3, 64),), (Conv(3, 96), Conv(5, 96), Conv(5, 96, add=2))),
        tail=(Conv(5, 144), Conv(5, 144), Conv(5, 144, add=2), Conv(5, 144), Conv(5, 144, add=2)),
        features=(Conv(1, 64),),
        first=(Conv(9, 96), Conv(1, 256)),
        refine=(Conv(9, 64), Conv(9, 64), Conv(9, 64, add=2), Conv(9, 64), Conv(1, 128)),
        center_sigma=18.0,
    )


def finder() -> NetworkConfig:
    """Return our finder for whole pictures: it has the trunk of `compact`, to start from its weights; 1.5 MB."""
    return dataclasses.replace(
        compact(CENTER),
        stages=2,
        input_size=(256, 256),
        tail=(Conv(3, 96), Conv(3, 96), Conv(3, 96), Conv(5, 64), Conv(5, 64)),
        first=(Conv(7, 48), Conv(1, 64)),
        refine=(Conv(7, 32), Conv(7, 32), Conv(7, 32), Conv(1, 64)),
        center_map=False,
        background=False,
        concat=("features", "beliefs"),
        kind="find",
    )


def vgg(skeleton: Skeleton = LSP) -> NetworkConfig:
    """Return the released network on a VGG-19 trunk, with 7x7 convolutions in the later stages.

    The trunk is the ten first convolutions of VGG-19 (Simonyan and Zisserman 2015) and five more.
    """
    return NetworkConfig(
        skeleton=skeleton,
        trunk=((Conv(3, 64),) * 2, (Conv(3, 128),) * 2, (Conv(3, 256),) * 4),
        tail=(*(Conv(3, 512),) * 2, *(Conv(3, 256),) * 4, Conv(3, 128)),
        shared_trunk=True,
        features=(),
        first=(Conv(1, 512),),
        refine=(*(Conv(7, 128),) * 5, Conv(1, 128)),
        pool_kernel=2,
        concat=("beliefs", "features", "center"),
        dropout=0.0,
        # The release trained from ImageNet weights; from 0.01 this many convolutions would start at nothing.
        init_std=None,
    )


def person() -> NetworkConfig:
    """Return the released network that finds people: on more of VGG-19, with one map, the belief in a person's center.

    It sees the whole picture, brought to a height of 368 px; a belief above 0.5 is a person.
    """
    return dataclasses.replace(
        vgg(CENTER),
        stages=4,
        input_size=(376, 656),
        tail=(*(Conv(3, 512),) * 5, Conv(3, 128)),
        center_map=False,
        background=False,
        concat=("beliefs", "features"),
        kind="find",
        side_map=False,
        find_score=0.5,
    )


def mmpose(skeleton: Skeleton = MPII) -> NetworkConfig:
    """Return the network as mmpose 1.x builds and trains it: normalized, without center map and background."""
    return NetworkConfig(
        skeleton=skeleton,
        pool_padding=1,
        center_map=False,
        background=False,
        concat=("beliefs", "features"),
        norm="batch",
        cell_offset=0.0,
        dropout=0.0,
        init_std=0.001,
        color="rgb",
        pixel_mean=(123.675, 116.28, 103.53),
        pixel_scale=(58.395, 57.12, 57.375),
        padding_value=0,
    )


def widened(config: NetworkConfig, factor: float) -> NetworkConfig:
    """Return the network with `factor` times the channels in every convolution, rounded up to multiples of 16.

    Raises:
        ValueError: the factor is not a positive number.
    """
    if not (is_finite(factor) and 0 < factor <= MOST_CHANNELS):
        raise ValueError(f"factor must be a positive number of at most {MOST_CHANNELS}, got {factor!r}")

    def wide(convs: tuple[Conv, ...]) -> tuple[Conv, ...]:
        return tuple(
            dataclasses.replace(conv, channels=CHANNELS_BLOCK * math.ceil(conv.channels * factor / CHANNELS_BLOCK))
            for conv in convs
        )

    return dataclasses.replace(
        config,
        trunk=tuple(wide(block) for block in config.trunk),
        tail=wide(config.tail),
        features=wide(config.features),
        first=wide(config.first),
        refine=wide(config.refine),
    )


PRESETS = {
    "cpm6": NetworkConfig(),
    "flic": NetworkConfig(skeleton=FLIC, stages=4),
    "vgg": vgg(),
    "person": person(),
    "mmpose": mmpose(),
    "compact": compact(),
    "small": small(),
    "base": base(),
    "large": large(),
    "finder": finder(),
}


def preset(name: str, skeleton: Skeleton | None = None) -> NetworkConfig:
    """Return a named network, for its own skeleton or for another.

    Raises:
        ValueError: no such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"preset must be one of {sorted(PRESETS)}, got {name!r}{meant(name, PRESETS)}")
    config = PRESETS[name]
    # A finder has one part, whatever those of its subjects are.
    return config if skeleton is None or config.kind == "find" else dataclasses.replace(config, skeleton=skeleton)
