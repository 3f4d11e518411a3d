"""The search for subjects when a user gives neither boxes nor rois: by a finder, by the network, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeGuard

import numpy as np

from cpm_fast.config import NetworkConfig
from cpm_fast.engine import Engine
from cpm_fast.inference.finders.center_finder import CenterFinder
from cpm_fast.inference.finders.detector import Detector
from cpm_fast.inference.finders.finder import Finder
from cpm_fast.inference.finders.search import Search
from cpm_fast.inference.parts import Sighting
from cpm_fast.inference.settings import Settings, engine_of
from cpm_fast.model.cpm import CPM
from cpm_fast.system.numbers import check_score, is_finite, make_plain

AUTO, SEARCH = "auto", "search"
# The word of the command for find=False.
WHOLE = "whole"
Find = Literal["auto", "search"] | bool | CPM | str | Path | Callable[[np.ndarray], Any]


class Looks(Protocol):
    """A way to look for subjects."""

    def sightings(self, engine: Engine, settings: Settings, image: np.ndarray) -> Sequence[Sighting]:
        """Return the subjects in an image [H, W, 3] uint8 BGR, best first."""
        ...

    def longer_px(self, config: NetworkConfig) -> int | None:
        """Return the longer side that an image must have at least, if it is reduced; None: it is seen as it is."""
        ...


@dataclass(frozen=True, eq=False)
class Asked:
    """A user's choice of how to find subjects, before the weights are known.

    Args:
        find: "auto", "search", False, a finder (a network, a file or a bundled name), or a function from an image to
            boxes.
        given: whether the user gave boxes or rois.
        max_subjects, min_find_score: limits; None if not given.

    Raises:
        ValueError: find is something else, or asks for a search although subjects are given; a limit is out of its
            range, or applies to no search.
        TypeError: find is of another type.
    """

    find: Find = AUTO
    given: bool = False
    max_subjects: int | None = None
    min_find_score: float | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        find = self.find
        if find is True or find == "" or not (isinstance(find, (str, Path, CPM, bool)) or callable(find)):
            raise ValueError(f'find must be "auto", "search", False, a finder or a function, got {find!r:.80}')
        if isinstance(find, str) and find == WHOLE and not Path(find).exists():
            raise ValueError("find='whole' is find=False here: each picture is one subject")
        # Limits are checked whether they are used or not.
        check_limits(self.max_subjects, self.min_find_score, own_scores=is_function(find))
        if self.given and find is not False and find != AUTO:
            shown = "a finder" if isinstance(find, CPM) else "a function" if is_function(find) else repr(find)
            raise ValueError(f"find={shown} looks for subjects, but boxes or rois say where they are")
        if find is False or self.given:
            self.refuse_limits("find=False" if find is False else "boxes or rois, which say where subjects are")

    def limits(self, least: float) -> Search:
        """Return the limits, with a default for the least score."""
        return Search(self.max_subjects, least if self.min_find_score is None else self.min_find_score)

    def refuse_limits(self, why: str) -> None:
        """Raise ValueError if there are limits although nothing is searched."""
        for name in ("max_subjects", "min_find_score"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name} is for subjects that are looked for, got {getattr(self, name)!r} with {why}; "
                    'find="search", a finder or a function looks for them'
                )

    def of(self, network: CPM, precision: str = "auto") -> Looks | None:
        """Return the search for subjects with a pose network; None if there is none.

        Args:
            network: the pose network.
            precision: of the finder and its judge, see `Engine`.

        Raises:
            FileNotFoundError: no such finder.
            ValueError: the named network is no finder, or there are limits and no search.
        """
        if self.find is False or self.given:
            return None
        if isinstance(self.find, str) and self.find == SEARCH:
            return self.limits(Search().min_find_score)
        if is_function(self.find):
            return Detector(self.find, self.max_subjects, self.min_find_score)
        named = network.config.finder if isinstance(self.find, str) and self.find == AUTO else self.find
        if named == "":
            self.refuse_limits("weights that have no finder")
            return None
        assert isinstance(named, (CPM, str, Path))
        return finder_of(named, self, network, precision)


def check_limits(max_subjects: int | None, min_find_score: float | None, own_scores: bool = False) -> None:
    """Check the limits of finding subjects; `own_scores`: of a detector, whose scores may be of any size.

    Raises:
        ValueError: a limit is out of its range.
    """
    Search(max_subjects)
    if min_find_score is None:
        return
    if not own_scores:
        check_score(min_find_score, "min_find_score")
    elif not is_finite(min_find_score):
        raise ValueError(f"min_find_score must be a finite number, got {min_find_score!r}")


def is_function(find: Find) -> TypeGuard[Callable[[np.ndarray], Any]]:
    """Return whether a user gave a detector of their own."""
    return callable(find) and not isinstance(find, CPM)


def finder_of(named: CPM | str | Path, asked: Asked, network: CPM, precision: str = "auto") -> Finder | CenterFinder:
    """Return a finder that a user or a network's weights name, on the network's device."""
    from cpm_fast.weights import shared_network

    device = next(network.parameters()).device
    finder = named if isinstance(named, CPM) else shared_network(named, device=str(device))
    if finder.config.kind != "find":
        shown = "a network" if isinstance(named, CPM) else str(named)
        raise ValueError(f"find must be a finder, got {shown}, which locates the parts of subjects")
    engine, limits = engine_of(named, finder, precision), asked.limits(finder.config.find_score)
    if not finder.config.side_map:
        return CenterFinder(engine, limits)
    return Finder(engine, limits, judge_of(finder, network, precision))


def judge_of(finder: CPM, network: CPM, precision: str = "auto") -> Engine | None:
    """Return the network that judges a finder's regions for a pose network; None: the pose network itself does.

    It must have the same parts and less work.

    Raises:
        FileNotFoundError: no such network.
        ValueError: the named network is a finder.
    """
    from cpm_fast.weights import shared_network

    named = finder.config.judge
    if not named:
        return None
    judge = shared_network(named, device=str(next(network.parameters()).device))
    if judge.config.kind != "pose":
        raise ValueError(f"the finder's judge must be a network that locates parts, got the finder {named}")
    same = judge.skeleton.names == network.skeleton.names
    return engine_of(named, judge, precision) if same and work_of(judge) < work_of(network) else None


def work_of(network: CPM) -> int:
    """Return the multiplications of a network for one crop."""
    return sum(layer.macs for layer in network.layers)


def looked(looks: Looks, engine: Engine, settings: Settings, image: np.ndarray, name: str) -> Sequence[Sighting]:
    """Return the subjects in an image; an error on the way says in which image."""
    try:
        return looks.sightings(engine, settings, image)
    except Exception as error:
        error.add_note(f"while subjects were looked for in {name}")
        raise
