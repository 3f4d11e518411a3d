"""Benchmarks of speed and accuracy; README.md beside this file states the method."""
