"""Drawn figures: a dataset that needs no file."""
