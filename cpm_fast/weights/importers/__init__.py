"""Weights of other programs, read without running anything that they hold."""
