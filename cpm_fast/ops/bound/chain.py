"""Layers of native code bound to their tensors: checked once, and one call where several follow one another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, groupby

import torch

from cpm_fast.ops import backend
from cpm_fast.ops.memory import check_memory, check_storages, places_of, storages_of
from cpm_fast.ops.spectral.workspace import WORKSPACE_BYTES, workspaces

Call = Callable[[], object]


@dataclass(frozen=True, eq=False)
class BoundLayer:
    """A layer of native code with its tensors.

    Args:
        tensors: by name.
        add: adds the layer to a native chain by the addresses of the tensors, in order.
        mend: computes images that the layer has left; None if it leaves none.
    """

    tensors: dict[str, torch.Tensor]
    add: Callable[..., None]
    mend: Callable[[list[int]], None] | None = None


class Chain:
    """Layers as one call, which reads the current values of their tensors.

    A call from Python takes 15 to 20 us beside the layer's work, because the work has filled the caches with maps.

    Args:
        layers: with tensors on the CPU, whose shapes, types and layouts have been checked.

    Raises:
        RuntimeError: a tensor has no memory of its own, or its memory was released; the call raises it too.
    """

    def __init__(self, layers: Sequence[BoundLayer]) -> None:
        self.layers = tuple(layers)
        for layer in self.layers:
            for name, tensor in layer.tensors.items():
                check_memory(name, tensor)
        self.needed = tuple(need for layer in self.layers for need in storages_of(layer.tensors))
        # One tensor of every storage: their addresses move together.
        tensors = chain.from_iterable(layer.tensors.values() for layer in self.layers)
        self.tensors = tuple({tensor.untyped_storage()._cdata: tensor for tensor in tensors}.values())
        self.storages = tuple(tensor.untyped_storage() for tensor in self.tensors)
        self.bind()

    def bind(self) -> None:
        """Take the present addresses of the tensors."""
        self.places = places_of(self.tensors, self.storages)
        self.native = backend.native().Chain()
        for layer in self.layers:
            layer.add(self.native, *(tensor.data_ptr() for tensor in layer.tensors.values()))
        self.floats = lru_cache(maxsize=8)(partial(self.native.workspace, WORKSPACE_BYTES))

    def __call__(self) -> None:
        if places_of(self.tensors, self.storages) != self.places:
            check_storages(self.needed)
            self.bind()
        native, threads, floats = self.native, backend.threads(), self.floats
        done = 0
        while done < len(self.layers):
            # The native chain returns early for images that a layer has left, and for Python to handle signals.
            workspace = workspaces.take(floats(threads))
            done, left = native.run(done, workspace.data_ptr(), WORKSPACE_BYTES, threads)
            if left:
                mend = self.layers[done - 1].mend
                assert mend is not None
                mend(left)


def joined(calls: Iterable[Call]) -> Iterator[Call]:
    """Yield the calls in order, with the chains that follow one another as one."""
    for are_chains, several in groupby(calls, lambda call: isinstance(call, Chain)):
        if are_chains:
            yield Chain([layer for call in several if isinstance(call, Chain) for layer in call.layers])
        else:
            yield from several
