"""Poses in images and videos."""

from cpm_fast.inference.images import infer
from cpm_fast.inference.streaming import stream

__all__ = ["infer", "stream"]
