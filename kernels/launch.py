"""One kernel launch as data, so that running it and compiling it ahead of time use the same constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Launch:
    """A Triton kernel with everything it is called with.

    Args:
        kernel: the jitted function.
        programs: how many programs, all along the first axis of the grid, which alone may be longer than 65535.
        arguments: run-time arguments by name.
        constants: compile-time arguments by name.
        warps, stages: of the software pipeline and the program.
    """

    kernel: Any
    programs: int
    arguments: dict[str, torch.Tensor | int]
    constants: dict[str, int | str]
    warps: int
    stages: int

    def run(self) -> None:
        """Enqueue it on the current stream of the current device."""
        self.kernel[(self.programs,)](**self.arguments, **self.constants, num_warps=self.warps, num_stages=self.stages)
