"""Work shared by the processes that torchrun starts: each takes its part of the input, the first one merges."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as distributed

from cpm_fast.system.process_group import join_group, leave_group

# Ranks may be hours apart when they meet at the end.
LONGEST_WAIT = timedelta(days=30)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """One of `count` processes.

    Args:
        rank: from 0; the first one merges and reports.
        count: of processes.
        local_rank: on its machine; which of its GPUs it takes.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def part(self, items: Sequence[Item]) -> list[Item]:
        """Every count-th item, so that the parts are alike where neighbors are."""
        return list(items[self.rank :: self.count])

    def device(self, device: str) -> str:
        """The device that a word means here: for "auto" each process takes a GPU of its own."""
        if device == "auto" and self.count > 1 and torch.cuda.is_available():
            return f"cuda:{self.local_rank % torch.cuda.device_count()}"
        return device

    def wait_for_all(self) -> None:
        """Return when every process has come here.

        Raises:
            RuntimeError: one of them died.
        """
        if self.count > 1:
            distributed.barrier()

    def gather(self, mine: Item) -> list[Item]:
        """What every process has, in order of rank, for the first one; nothing for the others."""
        if self.count == 1:
            return [mine]
        everyone: list[Item] | None = [mine] * self.count if self.first else None
        distributed.gather_object(mine, everyone)
        return everyone or []


@contextmanager
def sharded() -> Iterator[Shard]:
    """This process's shard by RANK and WORLD_SIZE, as torchrun sets them; alone where they are not set.

    Raises:
        ValueError: the variables don't fit together.
        RuntimeError: the others can't be reached.
    """
    count, rank, local = (int(os.environ.get(name) or 0) for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"))
    if count <= 1:
        yield Shard()
        return
    if not 0 <= rank < count or "MASTER_ADDR" not in os.environ:
        raise ValueError(f"WORLD_SIZE is {count}, but RANK and MASTER_ADDR don't say who is who: start with torchrun")
    join_group("gloo", LONGEST_WAIT)
    try:
        yield Shard(rank, count, local)
    finally:
        leave_group()
