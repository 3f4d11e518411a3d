"""Checks too long for the tests: killed runs, many pictures, parity of training."""
