"""Formats of annotated pictures: one module per format."""
