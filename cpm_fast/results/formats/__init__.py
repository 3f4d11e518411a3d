"""Formats of result files: one module per format."""
