"""Annotated pictures: one file per format, each giving Samples; augmentation and the loader that batches them."""
