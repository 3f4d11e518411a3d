"""Working memory of native code, kept between calls."""

from __future__ import annotations

import threading

import torch

# Memory that each calling thread keeps between calls. With less the weights are read several times per image, with
# more the spectra of a chunk of tiles leave the caches.
WORKSPACE_BYTES = 64 * 2**20


class Workspace(threading.local):
    """One buffer for each calling thread, as large as its largest call has needed."""

    def __init__(self) -> None:
        self.buffer = torch.empty(0, dtype=torch.float32, device="cpu")

    def take(self, floats: int) -> torch.Tensor:
        if self.buffer.numel() < floats:
            # The old one first, so that both are never held at once.
            self.buffer = torch.empty(0, dtype=torch.float32, device="cpu")
            self.buffer = torch.empty(floats, dtype=torch.float32, device="cpu")
        return self.buffer


workspaces = Workspace()
# Spectra of a training step, which are used once.
spectra_workspaces = Workspace()
