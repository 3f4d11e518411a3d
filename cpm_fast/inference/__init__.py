"""Poses in images and videos."""

from cpm_fast.inference.finding import find
from cpm_fast.inference.images import infer
from cpm_fast.inference.streaming import stream

__all__ = ["find", "infer", "stream"]
