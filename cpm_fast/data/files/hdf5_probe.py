"""Read all of an HDF5 file that our readers may read; run in a process of its own, which can be ended.

A damaged file keeps the library busy forever, or ends the process; the parent process notices either.
"""

from __future__ import annotations

import sys
from typing import Any

# Arrays up to this size are read whole, larger ones at their ends.
WHOLE_BYTES = 1 << 24


def probe(path: str) -> None:
    """Read attributes, shapes, places and the content of every object that hard links lead to."""
    import h5py

    with h5py.File(path, "r") as file:
        waiting: list[Any] = [file]
        seen: set[Any] = set()
        while waiting:
            node = waiting.pop()
            if node.id in seen:
                continue
            seen.add(node.id)
            _attempt(lambda node=node: [node.attrs[name] for name in node.attrs])
            if isinstance(node, h5py.Group):
                for name in _attempt(lambda node=node: list(node)) or ():
                    if isinstance(_attempt(lambda node=node, name=name: node.get(name, getlink=True)), h5py.HardLink):
                        found = _attempt(lambda node=node, name=name: node[name])
                        waiting += [] if found is None else [found]
            elif isinstance(node, h5py.Dataset) and not node.external and not node.is_virtual:
                _attempt(lambda node=node: _content(node))


def limit_processor_time(seconds: int) -> None:
    """Let the system end this process with SIGXCPU after so much work; without such limits the parent's clock does."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def _content(dataset: Any) -> None:
    if dataset.chunks is not None:
        dataset.id.get_num_chunks()
    if dataset.size * dataset.dtype.itemsize <= WHOLE_BYTES:
        dataset[()]
    else:
        dataset[0], dataset[len(dataset) - 1]


def _attempt(read: Any) -> Any:
    """Read a file to its end; errors are left to the reader, since only reading that never ends matters here."""
    try:
        return read()
    except Exception:
        return None


if __name__ == "__main__":
    limit_processor_time(int(sys.argv[2]))
    try:
        probe(sys.argv[1])
    except (OSError, ValueError, RuntimeError, KeyError):
        pass
