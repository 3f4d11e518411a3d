"""Suites of speed."""
