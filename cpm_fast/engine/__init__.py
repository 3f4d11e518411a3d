"""A model prepared to run fast."""

from cpm_fast.engine.engine import Engine

__all__ = ["Engine"]
