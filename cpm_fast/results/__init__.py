"""Results of inference, with their pictures and files."""

from cpm_fast.results.result import Result, Results

__all__ = ["Result", "Results"]
