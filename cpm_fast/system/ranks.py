"""The processes that torchrun starts: their places, their communication, how they join and leave."""

from __future__ import annotations

import atexit
import math
import os
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import distributed

# Time that the others wait while the first process validates and writes, or finishes its share of many pictures.
LONGEST_WAIT = timedelta(days=30)
# Time that a process waits for the others to start; `WAIT_VARIABLE` sets another number of seconds.
JOIN_SECONDS = 300.0
WAIT_VARIABLE = "CPM_FAST_WAIT_SECONDS"
# Time beyond it in which PyTorch may give its own error.
GRACE_SECONDS = 2.0
# Time between two attempts to reach the first process.
RETRY_SECONDS = 0.1
CPU = torch.device("cpu")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Ranks:
    """This process's place among those of a run; the default is a process alone.

    Args:
        rank: its number, from 0; the first one writes, merges and reports.
        world: number of processes.
        local: number of processes on this machine.
        device: where it computes.
        place: its number on this machine; which of its GPUs it takes.
    """

    rank: int = 0
    world: int = 1
    local: int = 1
    device: torch.device = CPU
    place: int = 0

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def part(self, items: Sequence[Item]) -> list[Item]:
        """Return this process's share: every world-th item, so that the shares are alike where neighbors are."""
        return list(items[self.rank :: self.world])

    def device_of(self, word: str) -> str:
        """Return the device that a word means here: for "auto" each process takes a GPU of its own."""
        if word == "auto" and self.world > 1 and torch.cuda.is_available():
            return f"cuda:{self.place % torch.cuda.device_count()}"
        return word

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Add up every process's tensor, in place."""
        if self.world > 1:
            distributed.all_reduce(tensor)
        return tensor

    def total(self, count: int) -> int:
        """Add up every process's number."""
        return count if self.world == 1 else int(self.sum(torch.tensor(count, device=self.device)).item())

    def wait(self) -> None:
        """Wait until every process has called this.

        Raises:
            RuntimeError: one of them died.
        """
        if self.world > 1:
            distributed.barrier(device_ids=[self.device.index] if self.device.type == "cuda" else None)

    def gather(self, mine: Item) -> list[Item]:
        """Return what every process has, in order of rank, to the first one; nothing to the others."""
        if self.world == 1:
            return [mine]
        everyone: list[Item] | None = [mine] * self.world if self.main else None
        distributed.gather_object(mine, everyone)
        return everyone or []

    def agree(self, settings: Mapping[str, Any]) -> None:
        """Refuse to work together with other settings or inputs; every process must call this.

        Args:
            settings: name -> what must be the same in all processes; compared as text, and mappings value by value.

        Raises:
            ValueError: something differs; names the first such setting, and two processes, in all of them.
        """
        if self.world == 1:
            return
        mine = dict(_texts(settings))
        everyone: list[dict[str, str]] = [mine] * self.world
        distributed.all_gather_object(everyone, mine)
        first = everyone[0]
        for rank, other in enumerate(everyone):
            for name in dict.fromkeys([*first, *other]):
                if first.get(name) != other.get(name):
                    raise ValueError(
                        f"all processes must have the same {name}, got {first.get(name)!s:.200} in process 0 and "
                        f"{other.get(name)!s:.200} in process {rank}"
                    )


def launched() -> Ranks:
    """Return this process's place among those that torchrun started, as the environment says; joins nothing.

    torchrun sets RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT; other launchers may too.

    Raises:
        ValueError: the variables are no numbers, or do not fit together.
    """
    world = _number("WORLD_SIZE", 1)
    if world < 1:
        raise ValueError(f"WORLD_SIZE must be at least 1, got {world}")
    if world == 1:
        # Each of several processes that do not know of the others would take itself for the only one.
        if _number("RANK", 0) != 0:
            size = "1" if os.environ.get("WORLD_SIZE") else "not set"
            raise ValueError(f"RANK is {os.environ['RANK']}, but WORLD_SIZE is {size}: start with torchrun")
        return Ranks()
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise ValueError(f"WORLD_SIZE is {world}, but {', '.join(missing)} is not set: start with torchrun")
    rank = _number("RANK", 0)
    if not 0 <= rank < world:
        raise ValueError(f"RANK must be from 0 to WORLD_SIZE - 1 = {world - 1}, got {rank}")
    place = _number("LOCAL_RANK", 0)
    if place < 0:
        raise ValueError(f"LOCAL_RANK must be 0 or more, got {place}")
    return Ranks(rank, world, max(1, _number("LOCAL_WORLD_SIZE", 1)), CPU, place)


def _texts(settings: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and text of every value, those of mappings in mappings too."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _texts(value, f"{within}{name} ")
        else:
            yield f"{within}{name}", repr(value)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if re.fullmatch("-?[0-9]+", text.strip()) is None:
        raise ValueError(f"{name} must be a whole number, got {text!r}")
    return int(text)


def _seconds_to_wait() -> float:
    text = os.environ.get(WAIT_VARIABLE) or str(JOIN_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST_WAIT.total_seconds():
        raise ValueError(f"{WAIT_VARIABLE} must be a number of seconds, at most {LONGEST_WAIT.days} days, got {text!r}")
    return seconds


def main_process() -> bool:
    """Return whether this process is the first of those that a launcher started, or the only one.

    Raises:
        ValueError: as for `launched`.
    """
    return launched().main


def join(device: torch.device = CPU) -> Ranks:
    """Join the processes that torchrun started; a process of its own where it did not.

    The processes talk through NCCL on CUDA, where each takes the device of its local rank, and through gloo on a CPU.
    They stay joined until they end: the launcher's store does not let them meet a second time.

    Args:
        device: where this process is to compute, without a number.

    Raises:
        ValueError: as for `launched`.
        RuntimeError: the others can't be reached in time, or there are more processes than CUDA devices.
    """
    ranks = launched()
    if ranks.world == 1:
        return replace(ranks, device=device)
    if device.type == "cuda":
        if ranks.place >= torch.cuda.device_count():
            raise RuntimeError(
                f"process {ranks.place} of this machine must have a device, got {torch.cuda.device_count()}"
            )
        device = torch.device("cuda", ranks.place)
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        _join_group("nccl" if device.type == "cuda" else "gloo", ranks)
        atexit.register(leave)
    return replace(ranks, device=device)


def leave() -> None:
    """Leave the other processes, and end the threads that talk to them; nothing where there are none."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _within(wait: timedelta, work: Callable[[], Item]) -> Item:
    """Return what `work` returns; PyTorch's own limit does not end a wait for a host that never answers.

    Raises:
        TimeoutError: it takes longer than `wait`, and a little for PyTorch's own error. It continues in a thread, which
            ends with the process.
    """
    found: queue.SimpleQueue[tuple[Item | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            found.put((work(), None))
        except BaseException as error:
            found.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        item, error = found.get(timeout=wait.total_seconds() + GRACE_SECONDS)
    except queue.Empty:
        raise TimeoutError("no answer") from None
    if error is not None:
        raise error
    return cast(Item, item)


def _reach(host: str, port: int, seconds: float) -> None:
    """Wait until something takes connections at an address.

    PyTorch's own attempts end at about the same time as the wait for them. A thread that leaves PyTorch while the
    interpreter ends takes the process with it (SIGABRT), so PyTorch gets an address only if something is there.

    Raises:
        TimeoutError: nothing takes connections in time; says why not.
        ValueError: there is no such port.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection((host, port), timeout=max(0.01, end - time.monotonic())).close()
        except OverflowError as error:
            raise ValueError(str(error)) from None
        except OSError as error:
            if time.monotonic() + RETRY_SECONDS > end:
                raise TimeoutError(str(error)) from None
        time.sleep(RETRY_SECONDS)


def _join_group(backend: str, ranks: Ranks) -> None:
    # Default arguments in there are the default group of when it is first imported, as PyTorch's compiler does at some
    # time. A group that they hold outlives its end, and its threads the interpreter: one that then touches a Python
    # object ends the process with SIGABRT.
    import torch.distributed.nn.functional  # noqa: F401

    wait = timedelta(seconds=_seconds_to_wait())
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    names = [f"cpm_fast/{rank}" for rank in range(ranks.world)]

    def meet() -> Any:
        # The first process holds the store.
        if ranks.rank > 0:
            _reach(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), wait.total_seconds())
        store = next(distributed.rendezvous("env://", timeout=wait))[0]  # type: ignore[attr-defined]
        store.set(names[ranks.rank], "here")
        return store

    try:
        store = _within(wait, meet)
    except (RuntimeError, ValueError, TimeoutError) as error:
        # The first process, which holds the store, waits in there for the others.
        if "waiting for clients" in str(error):
            raise RuntimeError(
                f"some of the {ranks.world} processes did not reach {where} within {wait.total_seconds():g} s "
                f"({WAIT_VARIABLE} sets the time)"
            ) from None
        raise RuntimeError(
            f"process {ranks.rank} of {ranks.world} can't reach {where} within {wait.total_seconds():g} s: {error}; "
            f"is another program using the port? ({WAIT_VARIABLE} sets the time)"
        ) from None
    try:
        store.wait(names, wait)
    except RuntimeError:
        absent = ", ".join(str(rank) for rank, name in enumerate(names) if not store.check([name]))
        raise RuntimeError(
            f"process {absent} of {ranks.world} did not reach {where} within {wait.total_seconds():g} s "
            f"({WAIT_VARIABLE} sets the time)"
        ) from None
    distributed.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.world, timeout=LONGEST_WAIT)
