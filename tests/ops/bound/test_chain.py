"""Layers as one call: their bits, memory that moves or goes, images that are left, and turns for other calls."""

from __future__ import annotations

import signal
import time

import pytest
import torch

from cpm_fast.ops import backend
from cpm_fast.ops.bound.chain import Call, Chain, joined
from cpm_fast.ops.bound.maps import bound_copy
from cpm_fast.ops.direct_conv import bound_direct_conv, direct_conv, pack_weight
from cpm_fast.ops.spectral_conv import bound_spectral_conv, spectral_conv, transform_weight

pytestmark = pytest.mark.skipif(backend.native_missing("cpu") is not None, reason=str(backend.native_missing("cpu")))


def maps(channels: int, fill: float | None = None) -> torch.Tensor:
    made = torch.randn(2, channels, 30, 26) if fill is None else torch.full((2, channels, 30, 26), fill)
    return made.contiguous(memory_format=torch.channels_last)


class Network:
    """By tiles from 4 to 20 channels, by plain sums to 8, and these copied into a map of 11."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.x, self.middle, self.last, self.wide = maps(4), maps(20, 7.0), maps(8, 7.0), maps(11, 7.0)
        self.weights = torch.randn(20, 4, 7, 7), torch.randn(8, 20, 3, 3)
        self.spectra, self.packed = transform_weight(self.weights[0], 16), pack_weight(self.weights[1])
        self.biases = torch.randn(20), torch.randn(8)

    def calls(self) -> list[Call]:
        first, second = self.biases
        return [
            bound_spectral_conv(self.x, self.spectra, first, True, 7, None, self.middle, self.weights[0]),
            bound_direct_conv(self.middle, self.packed, second, False, None, self.last),
            bound_copy(self.last, self.wide[:, 3:]),
        ]

    def wanted(self) -> torch.Tensor:
        middle = spectral_conv(self.x, self.spectra, self.biases[0], True, 7)
        return direct_conv(middle, self.packed, self.biases[1], False)


def test_layers_that_follow_one_another_are_one_call() -> None:
    network = Network()
    calls = list(joined(network.calls()))
    assert len(calls) == 1
    for _ in range(2):
        network.x.normal_()
        calls[0]()
        assert torch.equal(network.wide[:, 3:], network.wanted())
    assert torch.equal(network.wide[:, :3], maps(3, 7.0))


def test_other_calls_keep_their_turn() -> None:
    network, order = Network(), []
    first, second, third = network.calls()

    def between() -> None:
        order.append(float(network.middle[0, 0, 0, 0]))
        network.middle.fill_(1.0)

    calls = list(joined([first, between, between, second, third]))
    assert len(calls) == 4
    for call in calls:
        call()
    assert order[0] != 7.0 and order[1] == 1.0
    assert torch.equal(network.last, direct_conv(maps(20, 1.0), network.packed, network.biases[1], False))


def test_images_that_a_layer_leaves_are_computed_before_the_next() -> None:
    network = Network()
    network.x[1, 2, 11, 12] = float("nan")
    (call,) = joined(network.calls())
    call()
    alone = Network()
    for each in alone.calls():
        alone.x.copy_(network.x)
        each()
    assert network.wide[1].isnan().any() and not network.wide[1].isnan().all()
    torch.testing.assert_close(network.wide, alone.wide, rtol=0, atol=0, equal_nan=True)


def test_memory_that_has_moved_is_followed_and_memory_that_is_gone_refused() -> None:
    network = Network()
    (call,) = joined(network.calls())
    call()
    storage = network.packed.untyped_storage()
    size, weight = storage.nbytes(), network.packed.clone()
    storage.resize_(0)
    with pytest.raises(RuntimeError, match="packed must have its memory"):
        call()
    # So that its old place is not free.
    held = [torch.empty(size, dtype=torch.uint8) for _ in range(8)]
    storage.resize_(size)
    network.packed.copy_(weight).mul_(2)
    call()
    assert torch.equal(network.wide[:, 3:], network.wanted())
    assert held


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
def test_signals_are_handled_during_a_long_chain() -> None:
    x, out = torch.randn(1, 32, 96, 96), torch.empty(1, 32, 96, 96)
    x, out = (each.contiguous(memory_format=torch.channels_last) for each in (x, out))
    layer = bound_direct_conv(x, pack_weight(torch.randn(32, 32, 7, 7)), torch.zeros(32), True, None, out)
    started = time.perf_counter()
    layer()
    one = time.perf_counter() - started
    layers = int(4 / one) + 8

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        started = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            Chain(layer.layers * layers)()
        # A tenth of a second and the rest of one layer; all of them would take at least four seconds.
        assert time.perf_counter() - started < 0.75 * layers * one
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
