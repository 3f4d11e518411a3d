"""Skeletons: the parts of a subject, how they are joined, and which are mirror images of each other."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from cpm_fast.sides import mirror_pairs, unpaired
from cpm_fast.system.limits import check_file
from cpm_fast.system.words import some_of

# A table of 133 parts has 12 kB; deep keys of a hostile one keep the reader of TOML busy for hours.
MAX_FILE_BYTES = 32_768
LONGEST_NAME = 200

RIGHT_COLOR = (60, 150, 245)
LEFT_COLOR = (225, 130, 40)
MIDDLE_COLOR = (80, 200, 90)


@dataclass(frozen=True)
class Skeleton:
    """Names, limbs and mirror pairs of P parts, in the order of the network's maps.

    Args:
        name: of the skeleton, for instance "lsp".
        names: the P part names, unique, for instance "right_ankle". Left and right are the subject's own.
        limbs: pairs of part names to be joined in drawings.
        pairs: (left, right) pairs of part names that change places when the image is mirrored.

    Raises:
        ValueError: a name is not unique or unknown, or a part stands in two pairs.

    Examples:
        >>> ears = Skeleton("ears", ("left_ear", "right_ear"), (), (("left_ear", "right_ear"),))
        >>> ears.mirror
        (1, 0)
    """

    name: str
    names: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        whose = f"skeleton {self.name!r:.60}"
        if not self.names:
            raise ValueError(f"{whose}: names must hold at least one part, got none")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"{whose}: names must be unique, got {some_of(self.names)}")
        for part in self.names:
            if not isinstance(part, str) or not part.strip() or not part.isprintable() or len(part) > LONGEST_NAME:
                raise ValueError(
                    f"{whose}: a part name must be 1 to {LONGEST_NAME} printable characters, got {part!r:.60}"
                )
        for what, joined in (("limbs", self.limbs), ("pairs", self.pairs)):
            for ends in joined:
                if len(ends) != 2 or ends[0] == ends[1] or not set(ends) <= set(self.names):
                    raise ValueError(f"{whose}: {what} must join two of its parts, got {some_of(ends)}")
        paired = [part for pair in self.pairs for part in pair]
        if len(set(paired)) != len(paired):
            raise ValueError(f"{whose}: a part may stand in one pair only, got {some_of(self.pairs)}")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, part: str) -> int:
        """Return the map of a part.

        Raises:
            ValueError: the skeleton has no such part.
        """
        try:
            return self.names.index(part)
        except ValueError:
            raise ValueError(f"part must be one of {list(self.names)}, got {part!r}") from None

    @cached_property
    def limb_indices(self) -> tuple[tuple[int, int], ...]:
        return tuple((self.index(a), self.index(b)) for a, b in self.limbs)

    @cached_property
    def mirror(self) -> tuple[int, ...]:
        """Part i of a mirrored image is part mirror[i] of the image: [P]."""
        order = list(range(len(self.names)))
        for left, right in self.pairs:
            i, j = self.index(left), self.index(right)
            order[i], order[j] = j, i
        return tuple(order)

    @cached_property
    def one_sided(self) -> tuple[str, ...]:
        """Parts whose names hold a side and that stand in no pair; a mirrored picture would show them as the other."""
        return unpaired(self.names, self.pairs)

    @property
    def mirroring(self) -> str:
        """The effect of mirroring a picture on the parts, in words."""
        if self.one_sided:
            shown = ", ".join(self.one_sided[:4]) + (", ..." if len(self.one_sided) > 4 else "")
            return f"off, because no partner is known of {shown}; name pairs in a skeleton.toml"
        if not self.pairs:
            return "no part changes places"
        return "changes places of the pairs " + ", ".join(f"{left} - {right}" for left, right in self.pairs)

    @cached_property
    def colors(self) -> tuple[tuple[int, int, int], ...]:
        """One BGR color per part, with different hues for the subject's left, right and middle."""
        left = {pair[0] for pair in self.pairs}
        right = {pair[1] for pair in self.pairs}
        return tuple(
            LEFT_COLOR if part in left else RIGHT_COLOR if part in right else MIDDLE_COLOR for part in self.names
        )

    def order_from(self, names: Sequence[str]) -> list[int]:
        """Return the place of each of this skeleton's parts in another list of names, -1 if it is missing: [P].

        Spaces at the ends of names do not count.
        """
        places = {name.strip(): place for place, name in enumerate(names)}
        return [places.get(part.strip(), -1) for part in self.names]

    def only(self, parts: Sequence[str]) -> Skeleton:
        """Return the skeleton of some of its parts, in the order given: itself if they are all, in its order.

        Limbs and pairs are kept if both ends are.

        Raises:
            ValueError: it lacks one of them.
        """
        if tuple(parts) == self.names:
            return self
        for part in parts:
            self.index(part)
        limbs, pairs = (
            tuple(ends for ends in joined if set(ends) <= set(parts)) for joined in (self.limbs, self.pairs)
        )
        return Skeleton(self.name, tuple(parts), limbs, pairs)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "names": list(self.names),
            "limbs": [list(limb) for limb in self.limbs],
            "pairs": [list(pair) for pair in self.pairs],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Skeleton:
        """Make a skeleton of the result of `to_dict`.

        Raises:
            ValueError: a key is missing, unknown or not of the right form.
        """
        unknown = set(values) - {"name", "names", "limbs", "pairs"}
        if unknown or "names" not in values:
            raise ValueError(f"skeleton must have the keys name, names, limbs and pairs, got {some_of(sorted(values))}")
        if isinstance(values["names"], str):
            raise ValueError(f"skeleton: names must be a list of names, got {values['names']!r:.60}")
        try:
            return cls(
                name=str(values.get("name", "skeleton")),
                names=tuple(values["names"]),
                limbs=tuple((a, b) for a, b in values.get("limbs", ())),
                pairs=tuple((a, b) for a, b in values.get("pairs", ())),
            )
        except TypeError as error:
            raise ValueError(f"skeleton: names, limbs and pairs must be lists of names: {error}") from None

    @classmethod
    def from_toml(cls, path: str | Path) -> Skeleton:
        """Read a skeleton file: `name`, `names`, `limbs` and `pairs`, the last two as lists of two names.

        Without `pairs` the names decide (`sides.mirror_pairs`).

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file is not TOML or not a skeleton; the message names the file.
        """
        path = Path(path)
        check_file(path, MAX_FILE_BYTES)
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
            skeleton = cls.from_dict({"name": path.stem, **_trimmed(values)})
            return skeleton if "pairs" in values else replace(skeleton, pairs=mirror_pairs(skeleton.names))
        except RecursionError:
            raise ValueError(f"{path}: it is nested too deeply") from None
        except (ValueError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: {error}") from None


def _trimmed(values: dict[str, Any]) -> dict[str, Any]:
    """Return lists of names, and of lists of names, without spaces at their ends."""

    def trim(value: Any) -> Any:
        if isinstance(value, list):
            return [trim(one) for one in value]
        return value.strip() if isinstance(value, str) else value

    return {key: trim(value) for key, value in values.items()}


def _pairs(*stems: str) -> tuple[tuple[str, str], ...]:
    return tuple((f"left_{stem}", f"right_{stem}") for stem in stems)


def _chain(*parts: str) -> tuple[tuple[str, str], ...]:
    return tuple(pairwise(parts))


def _side(side: str, *stems: str) -> tuple[str, ...]:
    return tuple(f"{side}_{stem}" for stem in stems)


_ARM = ("shoulder", "elbow", "wrist")
_LEG = ("hip", "knee", "ankle")
_JHMDB_STEMS = ("shoulder", "hip", "elbow", "knee", "wrist", "ankle")
_LIMBS_14 = (
    *_chain("head_top", "neck", *_side("right", *_ARM)),
    *_chain("neck", *_side("left", *_ARM)),
    *_chain("neck", *_side("right", *_LEG)),
    *_chain("neck", *_side("left", *_LEG)),
)

# The order of the released 14-part networks.
LSP = Skeleton(
    name="lsp",
    names=(
        *("head_top", "neck"),
        *_side("right", *_ARM),
        *_side("left", *_ARM),
        *_side("right", *_LEG),
        *_side("left", *_LEG),
    ),
    limbs=_LIMBS_14,
    pairs=_pairs(*_ARM, *_LEG),
)

# The order of the 16 points of an MPII annotation.
MPII = Skeleton(
    name="mpii",
    names=(
        *_side("right", *reversed(_LEG)),
        *_side("left", *_LEG),
        *("pelvis", "thorax", "neck", "head_top"),
        *_side("right", *reversed(_ARM)),
        *_side("left", *_ARM),
    ),
    limbs=(
        *_chain("head_top", "neck", "thorax", "pelvis"),
        *(limb for side in ("right", "left") for limb in _chain("thorax", *_side(side, *_ARM))),
        *(limb for side in ("right", "left") for limb in _chain("pelvis", *_side(side, *_LEG))),
    ),
    pairs=_pairs(*_ARM, *_LEG),
)

# The order of the released 9-part network; the head point is the nose.
FLIC = Skeleton(
    name="flic",
    names=(*_side("left", *_ARM), *_side("right", *_ARM), "left_hip", "right_hip", "nose"),
    limbs=(*_chain(*_side("left", *_ARM)), *_chain(*_side("right", *_ARM))),
    pairs=_pairs(*_ARM, "hip"),
)

COCO = Skeleton(
    name="coco",
    names=("nose", *(f"{side}_{stem}" for stem in ("eye", "ear", *_ARM, *_LEG) for side in ("left", "right"))),
    limbs=(
        *_chain("left_ear", "left_eye", "nose", "right_eye", "right_ear"),
        ("left_shoulder", "right_shoulder"),
        ("left_hip", "right_hip"),
        *(limb for side in ("left", "right") for limb in _chain(*_side(side, *_ARM))),
        *(limb for side in ("left", "right") for limb in _chain(*_side(side, "shoulder", *_LEG))),
    ),
    pairs=_pairs("eye", "ear", *_ARM, *_LEG),
)

# The order of a JHMDB annotation; the subject's face is its head.
JHMDB = Skeleton(
    name="jhmdb",
    names=("neck", "belly", "head", *(f"{side}_{stem}" for stem in _JHMDB_STEMS for side in ("right", "left"))),
    limbs=(
        *_chain("head", "neck", "belly"),
        *(limb for side in ("right", "left") for limb in _chain("neck", *_side(side, *_ARM))),
        *(limb for side in ("right", "left") for limb in _chain("belly", *_side(side, *_LEG))),
    ),
    pairs=_pairs(*_ARM, *_LEG),
)

BUILT_IN = {skeleton.name: skeleton for skeleton in (LSP, MPII, FLIC, COCO, JHMDB)}
