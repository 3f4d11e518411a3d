"""Annotated pictures: one file per format, each giving Samples; augmentation and the loader that batches them."""

from cpm_fast.data.open import open_dataset

__all__ = ["open_dataset"]
