"""Settings of inference, and the network that a user names."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from cpm_fast.config import NetworkConfig
from cpm_fast.engine.engine import PRECISIONS, Engine
from cpm_fast.model.cpm import CPM
from cpm_fast.system.numbers import is_number, is_whole, make_plain
from cpm_fast.system.torch_settings import check_threads

# A factor outside these shows the network less than a pixel, or more empty border than picture.
SMALLEST_FACTOR, LARGEST_FACTOR = 1 / 64, 64.0
# More take the machine's memory before they help.
MOST_FACTORS, MOST_CROPS = 1024, 65_536
# As many as there are networks of different names in memory at most.
MOST_ENGINES = 8


@dataclass(frozen=True)
class Settings:
    """Settings of the path from a subject's region to its parts.

    Args:
        pyramid: factors on the magnification, 1/64 to 64; the belief maps of all are averaged.
        flip: average with the mirrored crops too.
        batch: crops per forward pass.
        precision: of the network, see `Engine`.
        refine: sub-pixel peaks.
        belief_maps: keep the belief maps of every stage at pyramid factor 1.
        every_stage: decode the parts of every stage, not only of the last.
        threads: CPU threads of a forward pass; PyTorch's number if None.
        tune: measure the fastest algorithms on this CPU, see `Engine`.

    Raises:
        TypeError: pyramid is no sequence of numbers.
        ValueError: a number is out of its range.
    """

    pyramid: Sequence[float] = (1.0,)
    flip: bool = False
    batch: int = 16
    precision: str = "auto"
    refine: bool = True
    belief_maps: bool = False
    every_stage: bool = False
    threads: int | None = None
    tune: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "pyramid", checked_pyramid(self.pyramid))
        make_plain(self)
        if self.belief_maps and 1.0 not in self.pyramid:
            raise ValueError(
                f"belief_maps are those of pyramid factor 1, which must be in pyramid, got {list(self.pyramid)}"
            )
        check_threads(self.threads)
        if not is_whole(self.batch) or not 1 <= self.batch <= MOST_CROPS:
            raise ValueError(f"batch must be a positive whole number, at most {MOST_CROPS}, got {self.batch!r}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {list(PRECISIONS)}, got {self.precision!r}")

    @property
    def rounding(self) -> str | None:
        """Return the precision where it is not that of float32."""
        return None if self.precision in ("auto", "fp32") else self.precision

    @property
    def scales(self) -> int:
        """Crops per subject."""
        return len(self.pyramid) * (2 if self.flip else 1)

    def plain(self) -> Settings:
        """Return these settings for one crop per subject and refined peaks: those of a look for subjects."""
        return replace(self, pyramid=(1.0,), flip=False, refine=True, every_stage=False)

    def for_network(self, config: NetworkConfig) -> Settings:
        """Return these settings, without `flip` if a part's mirror image is not known, with a warning."""
        if not (self.flip and config.skeleton.one_sided):
            return self
        warnings.warn(f"flip is {config.skeleton.mirroring}", stacklevel=3)
        return replace(self, flip=False)


def checked_pyramid(pyramid: Sequence[float]) -> tuple[float, ...]:
    """Return the factors as a tuple of floats.

    Raises:
        TypeError: pyramid is no sequence of numbers.
        ValueError: there is no factor, too many, or one is out of its range.
    """
    try:
        given: tuple[Any, ...] = tuple(pyramid)
    except TypeError:
        given = (None,)
    if not all(is_number(factor) for factor in given):
        raise TypeError(f"pyramid must be a sequence of numbers, got {pyramid!r:.80}")
    factors = tuple(map(float, given))
    fine = all(SMALLEST_FACTOR <= factor <= LARGEST_FACTOR for factor in factors)
    if not fine or not 1 <= len(factors) <= MOST_FACTORS:
        raise ValueError(
            f"pyramid must be one or more positive numbers from 1/64 to 64, at most {MOST_FACTORS}, got "
            f"{list(factors[:8])}{' ...' if len(factors) > 8 else ''}"
        )
    return factors


def find_network(model: CPM | str | Path | None, device: str | torch.device) -> CPM:
    """Return the network that a user names, on the device that a user names.

    Raises:
        TypeError: model is of another type.
        ValueError: it is a finder.
        RuntimeError: the given network is on another device.
    """
    network = _named_network(model, device)
    if network.config.kind == "find":
        raise ValueError("model must be a network that locates parts, got a finder; give it as find= (--finder)")
    return network


def engine_of(model: CPM | str | Path | None, network: CPM, precision: str = "auto", tune: bool = False) -> Engine:
    """Return the engine of a network that a user gave, or that `find_network` found by its name.

    Nobody else can change a network that was found by its name, so its engine is frozen, and later calls find the same
    engine: a new one would compare all weights once, which takes 0.2 ms beside the 4.2 ms of one picture with
    `compact-lsp`.
    """
    if isinstance(model, CPM):
        return Engine(network, precision=precision, tune=tune)
    return _frozen_engine(network, precision, tune)


@lru_cache(maxsize=MOST_ENGINES)
def _frozen_engine(network: CPM, precision: str, tune: bool) -> Engine:
    return Engine(network, precision=precision, tune=tune, frozen=True)


def _named_network(model: CPM | str | Path | None, device: str | torch.device) -> CPM:
    if isinstance(model, CPM):
        where = next(model.parameters()).device
        wanted = where if device == "auto" else torch.device(device)
        if wanted.type != where.type or wanted.index not in (None, where.index):
            raise RuntimeError(f"device must be {where}, where the given model is, got {device}; model.to({device!r})")
        return model
    if model is not None and not isinstance(model, (str, Path)):
        raise TypeError(f"model must be a CPM, a path or a name of bundled weights, got {type(model).__name__}")
    from cpm_fast.weights import DEFAULT, shared_network

    return shared_network(DEFAULT if model is None else model, device=str(device))
