"""One process or several: what torchrun says of them, and the sums over all that training needs."""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

from cpm_fast.system.process_group import join_group, leave_group

# The others wait while the first process validates and writes.
LONGEST_WAIT = timedelta(hours=2)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ranks:
    """This process among those of a run; the default is a process of its own.

    Args:
        rank: its number.
        world: how many there are.
        local: how many share this machine.
        device: where it computes.
    """

    rank: int = 0
    world: int = 1
    local: int = 1
    device: torch.device = CPU

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of every process's tensor, in place."""
        if self.world > 1:
            distributed.all_reduce(tensor)
        return tensor

    def total(self, count: int) -> int:
        """The sum of every process's number."""
        return count if self.world == 1 else int(self.sum(torch.tensor(count, device=self.device)).item())

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            distributed.barrier(device_ids=[self.device.index] if self.device.type == "cuda" else None)


def main_process() -> bool:
    """Whether this process is the first of those that a launcher started, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def join(device: torch.device) -> Ranks:
    """Join the processes that torchrun started; a process of its own where it did not.

    It sets RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE; other launchers may set them too. The processes talk
    through NCCL on CUDA, where each takes the device of its local rank, and through gloo on a CPU. They stay joined
    until they end: the launcher's store does not let them meet a second time.

    Raises:
        RuntimeError: there are more processes on this machine than CUDA devices.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or "RANK" not in os.environ:
        return Ranks(device=device)
    rank, place = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if device.type == "cuda":
        if place >= torch.cuda.device_count():
            raise RuntimeError(f"process {place} of this machine must have a device, got {torch.cuda.device_count()}")
        device = torch.device("cuda", place)
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        join_group("nccl" if device.type == "cuda" else "gloo", LONGEST_WAIT)
        atexit.register(leave_group)
    return Ranks(rank, world, int(os.environ.get("LOCAL_WORLD_SIZE", "1")), device)
