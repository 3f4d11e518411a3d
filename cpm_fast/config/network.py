"""The description of a network: one frozen dataclass that its weights carry along."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cpm_fast.skeleton import LSP, Skeleton
from cpm_fast.system.numbers import LARGEST_SCORE, is_finite, is_whole, make_plain

STRIDE = 8
# Largest side of a convolution's window; csrc/cpu/spectral/kernels.h has the same.
MAX_KERNEL = 15
CONCAT_SOURCES = ("features", "beliefs", "center")
# Side of the center map's averaging window; the release has 9.
LARGEST_CENTER_POOL = 2 * STRIDE - 1
# No network that runs is larger; a weights file may claim anything.
MOST_STAGES, LARGEST_SIDE, MOST_CHANNELS, SMALLEST = 64, 8192, 1 << 15, 1e-3
LARGEST_PIXEL = 1 << 16
# Maps of a network that starts from larger weights overflow after a few layers.
LARGEST_STD = 10
# A finder has one part; its second map is 0 where a subject's side is so many pixels of the network's input.
CENTER = Skeleton("subject", ("center",))
SIDE_UNIT_PX = 64.0
# Sizes of the picture at which a finder reads it, at most, and the longer side of one, in pixels.
MOST_LEVELS, LEVEL_PX = 3, (32, 2048)
# Fields that have to do with finders.
FINDING = ("kind", "side_map", "finder", "judge", "find_score", "find_levels", "find_sizes")


@dataclass(frozen=True)
class Conv:
    """A same-size convolution of kernel x kernel cells, followed by ReLU.

    Args:
        kernel: side of the window in cells.
        channels: of the output.
        add: close a residual block (He et al. 2016; footnote 2 of Wei et al.): before the ReLU, add the output of the
            convolution that stands this many places earlier in the same list. 0: add nothing.

    Raises:
        ValueError: a number is out of its range.

    Examples:
        >>> block = (Conv(7, 48), Conv(7, 48), Conv(7, 48, add=2))  # relu(conv3(conv2(a)) + a) for a = conv1(x)
        >>> NetworkConfig(refine=block).refine[2].add
        2
    """

    kernel: int
    channels: int
    add: int = 0

    def __post_init__(self) -> None:
        make_plain(self)
        if not is_whole(self.kernel) or not 1 <= self.kernel <= MAX_KERNEL or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd and from 1 to {MAX_KERNEL}, got {self.kernel!r}")
        if not is_whole(self.channels) or not 1 <= self.channels <= MOST_CHANNELS:
            raise ValueError(
                f"channels must be a positive whole number of at most {MOST_CHANNELS}, got {self.channels!r}"
            )
        if not is_whole(self.add) or self.add < 0:
            raise ValueError(f"add must be a whole number of convolutions, 0 or more, got {self.add!r}")


@dataclass(frozen=True)
class NetworkConfig:
    """A Convolutional Pose Machine (Wei et al. 2016, Figure 2). The defaults are the released 6-stage network.

    The image goes through a trunk of three pooled blocks to a map of 1/8 of its size. Stage 1 predicts belief maps
    from its trunk; every later stage from its own features of the trunk, the beliefs before it and the center map.

    Args:
        skeleton: the P parts, in map order.
        stages: their number, T.
        input_size: (height, width) of the box in pixels, multiples of 8.
        trunk: three blocks of convolutions, each block followed by pooling by 2.
        tail: convolutions after the last pool that belong to the trunk.
        shared_trunk: one trunk for all stages; otherwise stage 1 has its own and the later stages share a second.
        features: each stage's own convolutions on the trunk, before its head or concatenation.
        first: head of stage 1, before its linear 1x1 belief layer; dropout stands behind each.
        refine: head of every later stage, before its linear 1x1 belief layer.
        pool_kernel: 3: maximum over 3x3 windows clipped at the border (as released); 2: over 2x2 windows.
        pool_padding: cell i of a pool sees from cell 2 i - padding on: 0 as released, 2 i .. 2 i + 2; 1, with
            pool_kernel 3 only, as mmpose has it, 2 i - 1 .. 2 i + 1.
        center_map: whether later stages see where the subject is.
        center_sigma: of its Gaussian, box pixels.
        center_pool: side of the averaging window, stride 8, that brings it to the map; 9 as released.
        background: whether a background map stands behind the parts.
        concat: order of a later stage's inputs.
        norm: "none", or "batch" normalization between every convolution but the belief layers and its ReLU.
        cell_offset: cell g stands at box pixel 8 g + cell_offset.
        dropout: probability in training.
        init_std: of the Gaussian that weights start from (biases start at 0); None: sqrt(2 / fan-in) (He et al.),
            0.01 for the linear belief layers.
        color: channel order of the network's input.
        pixel_mean, pixel_scale: the input is (pixel - mean) / scale, per channel in `color` order.
        padding_value: of the pixels outside the image.
        margin: `Roi.from_box` margin the network was trained for.
        kind: "pose": the maps are parts; "find": the network is a finder, which sees whole pictures. Its two maps are
            the belief in a subject's center and the logarithm to base 2 of the subject's side (`SIDE_UNIT_PX`).
        side_map: of a finder: whether it has the second map. Without it, as in the release, the region of every subject
            is a square as high as the picture.
        finder: name or file of the finder that belongs to a pose network; empty: none.
        judge: of a finder: name or file of a small pose network that judges its regions if it has the pose network's
            parts; empty: the pose network does.
        find_score: of a finder: the least belief in a center that counts as a subject, calibrated on held-out scenes.
        find_levels: of a finder: at so many sizes of the picture it must see a subject, 1 to 3; the mean of the highest
            beliefs counts.
        find_sizes: of a finder: the longer sides at which it reads a picture, in pixels, one to three, falling.

    Raises:
        ValueError: a number is out of its range.

    Examples:
        >>> config = NetworkConfig(stages=4)
        >>> config.parts, config.maps, config.map_size
        (14, 15, (46, 46))
    """

    skeleton: Skeleton = LSP
    stages: int = 6
    input_size: tuple[int, int] = (368, 368)
    trunk: tuple[tuple[Conv, ...], ...] = ((Conv(9, 128),), (Conv(9, 128),), (Conv(9, 128),))
    tail: tuple[Conv, ...] = ()
    shared_trunk: bool = False
    features: tuple[Conv, ...] = (Conv(5, 32),)
    first: tuple[Conv, ...] = (Conv(9, 512), Conv(1, 512))
    refine: tuple[Conv, ...] = (Conv(11, 128), Conv(11, 128), Conv(11, 128), Conv(1, 128))
    pool_kernel: int = 3
    pool_padding: int = 0
    center_map: bool = True
    center_sigma: float = 21.0
    center_pool: int = 9
    background: bool = True
    concat: tuple[str, ...] = CONCAT_SOURCES
    norm: Literal["none", "batch"] = "none"
    cell_offset: float = 3.5
    dropout: float = 0.5
    init_std: float | None = 0.01
    color: Literal["bgr", "rgb"] = "bgr"
    pixel_mean: tuple[float, float, float] = (128.0, 128.0, 128.0)
    pixel_scale: tuple[float, float, float] = (256.0, 256.0, 256.0)
    padding_value: int = 128
    margin: float = 1.25
    kind: Literal["pose", "find"] = "pose"
    side_map: bool = True
    finder: str = ""
    judge: str = ""
    find_score: float = 0.3
    find_levels: int = 1
    find_sizes: tuple[int, ...] = (480, 240, 120)

    def __post_init__(self) -> None:
        def require(fine: bool, name: str, wanted: str) -> None:
            if not fine:
                raise ValueError(f"{name} must be {wanted}, got {getattr(self, name)!r}")

        make_plain(self)
        require(isinstance(self.skeleton, Skeleton), "skeleton", "a Skeleton")
        for name in ("input_size", "concat", "pixel_mean", "pixel_scale", "find_sizes"):
            require(isinstance(getattr(self, name), tuple), name, "a sequence")
        fine = is_whole(self.stages) and 1 <= self.stages <= MOST_STAGES
        require(fine, "stages", f"a whole number of at least 1 and at most {MOST_STAGES}")
        sides = self.input_size
        fine = len(sides) == 2 and all(
            is_whole(side) and 0 < side <= LARGEST_SIDE and side % STRIDE == 0 for side in sides
        )
        require(fine, "input_size", f"(height, width), positive multiples of 8 of at most {LARGEST_SIDE}")
        fine = isinstance(self.trunk, tuple) and len(self.trunk) == 3 and all(map(_are_convs, self.trunk))
        require(fine and all(self.trunk), "trunk", "three blocks of at least one convolution")
        for block in self.trunk:
            _check_sums("trunk", block)
        for name in ("tail", "features", "first", "refine"):
            require(_are_convs(getattr(self, name)), name, "a sequence of Conv")
            _check_sums(name, getattr(self, name))
        require(is_whole(self.pool_kernel) and self.pool_kernel in (2, 3), "pool_kernel", "2 or 3")
        fine = is_whole(self.pool_padding) and self.pool_padding in ((0, 1) if self.pool_kernel == 3 else (0,))
        require(fine, "pool_padding", "0, or 1 with pool_kernel 3")
        fine = is_whole(self.center_pool) and STRIDE <= self.center_pool <= LARGEST_CENTER_POOL
        require(fine, "center_pool", f"a whole number from 8 to {LARGEST_CENTER_POOL}")
        for name in ("center_sigma", "margin"):
            fine = is_finite(getattr(self, name)) and SMALLEST <= getattr(self, name) <= LARGEST_SIDE
            require(fine, name, f"a positive number from {SMALLEST:g} to {LARGEST_SIDE}")
        fine = is_finite(self.cell_offset) and abs(self.cell_offset) <= LARGEST_SIDE
        require(fine, "cell_offset", f"a finite number within {LARGEST_SIDE}")
        wanted = {"features", "beliefs"} | ({"center"} if self.center_map else set())
        given = set(self.concat)
        fine = wanted <= given <= set(CONCAT_SOURCES) and len(given) == len(self.concat)
        require(fine, "concat", f"an order of {sorted(wanted)}")
        require(self.norm in ("none", "batch"), "norm", "'none' or 'batch'")
        require(is_finite(self.dropout) and 0 <= self.dropout < 1, "dropout", "from 0 to below 1")
        fine = self.init_std is None or (is_finite(self.init_std) and 0 < self.init_std <= LARGEST_STD)
        require(fine, "init_std", f"positive and at most {LARGEST_STD}, or None")
        require(self.color in ("bgr", "rgb"), "color", "'bgr' or 'rgb'")
        for name, least in (("pixel_mean", 0), ("pixel_scale", SMALLEST)):
            values = getattr(self, name)
            fine = len(values) == 3 and all(
                is_finite(value) and least <= abs(value) <= LARGEST_PIXEL for value in values
            )
            require(fine, name, f"three finite numbers, each of a magnitude from {least:g} to {LARGEST_PIXEL}")
        fine = is_whole(self.padding_value) and 0 <= self.padding_value <= 255
        require(fine, "padding_value", "a whole number from 0 to 255")
        require(self.kind in ("pose", "find"), "kind", "'pose' or 'find'")
        require(self.side_map or self.kind == "find", "side_map", "true with kind 'pose'")
        require(isinstance(self.finder, str), "finder", "a name or file of weights, or empty")
        fine = isinstance(self.judge, str) and (self.judge == "" or self.kind == "find")
        require(fine, "judge", "a name or file of weights, or empty, and empty with kind 'pose'")
        fine = is_finite(self.find_score) and self.find_score <= LARGEST_SCORE
        require(fine, "find_score", f"a finite number up to {LARGEST_SCORE:g}")
        fine = is_whole(self.find_levels) and 1 <= self.find_levels <= MOST_LEVELS
        require(fine, "find_levels", f"a whole number from 1 to {MOST_LEVELS}")
        sizes, (least, most) = self.find_sizes, LEVEL_PX
        fine = 1 <= len(sizes) <= MOST_LEVELS and all(is_whole(size) and least <= size <= most for size in sizes)
        fine = fine and list(sizes) == sorted(set(sizes), reverse=True)
        require(fine, "find_sizes", f"1 to {MOST_LEVELS} falling whole numbers from {least} to {most}")
        if self.kind == "find":
            require(self.skeleton.names == CENTER.names, "skeleton", f"of the part {CENTER.names[0]} with kind 'find'")
            for name in ("center_map", "background"):
                require(not getattr(self, name), name, "false with kind 'find'")

    @property
    def parts(self) -> int:
        """P, the number of parts."""
        return len(self.skeleton)

    @property
    def maps(self) -> int:
        """The number of belief maps: P + 1, or P without background; a finder's map of sides counts as one."""
        return self.parts + int(self.background) + int(self.kind == "find" and self.side_map)

    @property
    def map_size(self) -> tuple[int, int]:
        """(h, w) of the belief maps in cells."""
        return self.input_size[0] // STRIDE, self.input_size[1] // STRIDE

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, strings and lists, for JSON."""
        values = dataclasses.asdict(self)
        values["skeleton"] = self.skeleton.to_dict()
        values["trunk"] = [_convs_dict(block) for block in self.trunk]
        for name in ("tail", "features", "first", "refine"):
            values[name] = _convs_dict(getattr(self, name))
        # Files of networks that have nothing to do with finders stay as they were.
        for entry in dataclasses.fields(self):
            if entry.name in FINDING and values[entry.name] == entry.default:
                del values[entry.name]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NetworkConfig:
        """Make a config of the result of `to_dict`.

        Raises:
            ValueError: a field is unknown or not of its form.
        """
        known = {entry.name for entry in dataclasses.fields(cls)}
        unknown = set(values) - known
        if unknown:
            raise ValueError(f"network config has unknown fields {sorted(unknown)}; known are {sorted(known)}")
        given = dict(values)
        try:
            if "skeleton" in given:
                given["skeleton"] = Skeleton.from_dict(given["skeleton"])
            if "trunk" in given:
                given["trunk"] = tuple(_convs(block) for block in given["trunk"])
            for name in ("tail", "features", "first", "refine"):
                if name in given:
                    given[name] = _convs(given[name])
            for name in ("input_size", "concat", "pixel_mean", "pixel_scale", "find_sizes"):
                if name in given:
                    given[name] = tuple(given[name])
            return cls(**given)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"network config is not of its form: {error}") from None


def _are_convs(convs: Any) -> bool:
    return isinstance(convs, tuple) and all(isinstance(conv, Conv) for conv in convs)


def _check_sums(name: str, convs: tuple[Conv, ...]) -> None:
    """Raise ValueError where a convolution adds a map that is not there, or has other channels."""
    for place, conv in enumerate(convs):
        if conv.add > place:
            raise ValueError(f"{name}: add must be at most {place} in convolution {place + 1}, got {conv.add}")
        source = convs[place - conv.add]
        if source.channels != conv.channels:
            raise ValueError(
                f"{name}: convolution {place + 1} must have the {source.channels} channels of what it adds, "
                f"got {conv.channels}"
            )


def _convs_dict(convs: tuple[Conv, ...]) -> list[dict[str, int]]:
    """Return convolutions for JSON; files of networks that add nothing stay as they were."""
    return [
        {"kernel": conv.kernel, "channels": conv.channels} | ({"add": conv.add} if conv.add else {}) for conv in convs
    ]


def _convs(values: Any) -> tuple[Conv, ...]:
    return tuple(Conv(value["kernel"], value["channels"], value.get("add", 0)) for value in values)
