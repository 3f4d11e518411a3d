"""Reading ahead in threads while the network runs: in order, bounded, with no thread left running afterward."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Out = TypeVar("Out")

THREAD_NAME = "cpm_fast reader"


def read_ahead(
    read: Callable[[Item], Out], items: Iterable[Item], cost: Callable[[Item], int], readers: int, budget: int
) -> Generator[Out]:
    """Yield the result of `read` for every item, in order; the next ones are read while the caller works.

    An exception of `read` comes out where its result would. Closing the iterator drops what waits and returns when
    the items being read are done.

    Args:
        read: called in the readers' threads, or with no readers in the caller's.
        items: what to read.
        cost: of an item, in the unit of the budget.
        readers: threads; 0 reads each item when it is asked for.
        budget: items are taken ahead up to this cost in all, one at least.
    """
    if readers == 0:
        yield from map(read, items)
        return
    pool = ThreadPoolExecutor(readers, thread_name_prefix=THREAD_NAME)
    waiting: deque[tuple[Future[Out], int]] = deque()
    held = 0
    try:
        for item in items:
            price = cost(item)
            while waiting and held + price > budget:
                future, paid = waiting.popleft()
                held -= paid
                yield future.result()
            waiting.append((pool.submit(read, item), price))
            held += price
        while waiting:
            yield waiting.popleft()[0].result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def prefetched(items: Iterator[Item], depth: int) -> Generator[Item]:
    """Yield the items of an iterator, taken up to `depth` ahead by one thread of its own."""
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix=THREAD_NAME)
    try:
        waiting: deque[Future[object]] = deque(pool.submit(next, items, end) for _ in range(depth))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
