"""Helpers of the tests, and the case table that tests and benchmarks share."""
