"""Checks of an engine before a call: whether weights have changed, the model is as it was built, tracing is on.

They run at every call of an engine that is not frozen, with caches that the call before has filled with maps: each
object that Python looks at then costs a miss. So the comparisons are `map`s over PyTorch's and Python's own functions
on what was found before. For `compact-lsp`, whose call takes 14 ms on two Zen 3 cores, times after 40 MB of other data:
1.0 ms by a walk over the modules, 0.7 by comparing a `Structure`; 0.3 of both went into reading the weights, which
other threads do meanwhile now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from itertools import chain, repeat
from operator import attrgetter, is_
from typing import ParamSpec, TypeVar

import torch
from torch import nn
from torch.nn.modules import module as torch_modules

from cpm_fast.engine.checksum import StartedChecksum, checksum, spans_of, started_checksum
from cpm_fast.model.cpm import CPM, ContextConv
from cpm_fast.model.layers import network_layers
from cpm_fast.ops.memory import check_memory, forms_of, places_of

_MODES = torch._C._TorchDispatchModeKey
# Modes under which operations make a graph or shapes, not values.
TRACING_MODES = (_MODES.FAKE, _MODES.PROXY, _MODES.FUNCTIONAL)
# Integers of a size, by which values on a GPU are compared bit by bit.
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


# Whatever decides how a module runs, besides its settings and the contents of these dictionaries.
_PARTS = attrgetter(
    "_modules", "_parameters", "_buffers", "_forward_hooks", "_forward_pre_hooks", "__dict__", "__class__"
)
_relu, _eps = attrgetter("relu"), attrgetter("eps")
# The methods by which modules compute, as they were when this was imported: an engine replaces these, and no others.
_OWN: dict[type[nn.Module], dict[str, object]] = {
    CPM: {name: getattr(CPM, name) for name in ("forward", "inputs", "run", "conv")},
    ContextConv: {name: getattr(ContextConv, name) for name in ("forward", "folded")},
    nn.BatchNorm2d: {"forward": nn.BatchNorm2d.forward},
    nn.ModuleDict: {"forward": nn.ModuleDict.forward},
}
_NAMES = tuple(dict.fromkeys(name for methods in _OWN.values() for name in methods))

Given = ParamSpec("Given")
Found = TypeVar("Found")


class Structure:
    """The modules of a model as they were found, to compare it with; it does not keep the model itself alive."""

    def __init__(self, model: CPM) -> None:
        self.odd = odd(model)
        self.modules = tuple(model.modules())[1:]
        parts = tuple(map(_PARTS, (model, *self.modules)))
        self.parts = tuple(chain.from_iterable(parts))
        self.held = tuple(chain.from_iterable(part[:3] for part in parts))
        self.hooks = tuple(chain.from_iterable(part[3:5] for part in parts))
        self.instances = tuple(part[5] for part in parts)
        self.values = tuple(chain.from_iterable(map(dict.values, self.held)))
        self.classes = tuple({part[6] for part in parts})
        self.methods = self._methods()
        self.convs = tuple(module for module in self.modules if isinstance(module, ContextConv))
        self.norms = tuple(module for module in self.modules if isinstance(module, nn.BatchNorm2d))
        self.layers, self.config, self.settings = model.layers, model.config, self._settings()

    def same(self, model: CPM) -> bool:
        """Return whether a model that `odd` accepted still has these very modules, tensors and settings."""
        if self.odd is not None:
            return False
        parts = tuple(chain.from_iterable(map(_PARTS, chain((model,), self.modules))))
        values = tuple(chain.from_iterable(map(dict.values, self.held)))
        return (
            all(map(is_, parts, self.parts))
            and len(values) == len(self.values)
            and all(map(is_, values, self.values))
            and not any(self.hooks)
            and not any(map(dict.__contains__, self.instances, repeat("forward")))
            and not any(map(dict.__contains__, self.instances, repeat("folded")))
            and self.instances[0].keys().isdisjoint(_NAMES)
            and all(map(is_, self._methods(), self.methods))
            and model.layers is self.layers
            and model.config is self.config
            and self._settings() == self.settings
            and not torch_modules._global_forward_hooks
            and not torch_modules._global_forward_pre_hooks
        )

    def _methods(self) -> tuple[object, ...]:
        return tuple(getattr(each, name, None) for each in self.classes for name in _NAMES)

    def _settings(self) -> tuple[tuple[object, ...], ...]:
        return tuple(map(_relu, self.convs)), tuple(map(_eps, self.norms))


@dataclass(eq=False)
class WeightsState:
    """The state of a model's weights.

    Args:
        structure: of the model.
        tensors: the weights, which it keeps alive.
        storages: of these, which it keeps alive too, so that no other memory has their addresses.
        places, forms: of them, by `places_of` and `forms_of`.
        spans: of the tensors on the CPU, for their next checksum; None if there is no native code or one is not dense.
        sum: the checksum of the tensors on the CPU.
        versions: PyTorch's, of the tensors on other devices.
        copies: of those.
    """

    structure: Structure
    tensors: tuple[torch.Tensor, ...]
    storages: tuple[torch.UntypedStorage, ...]
    places: tuple[tuple[object, ...], ...]
    forms: tuple[tuple[object, ...], ...]
    spans: list[tuple[int, int]] | None
    sum: int
    versions: tuple[int, ...]
    copies: tuple[torch.Tensor, ...]

    def read_ahead(self) -> StartedChecksum | None:
        """Let other threads begin to read the tensors; None if they are not where they were, or not all on the CPU."""
        if self.spans is None or self.copies or places_of(self.tensors, self.storages) != self.places:
            return None
        return started_checksum(self.spans)


def weights_state(
    model: CPM, before: WeightsState | None, same: bool = False, ahead: StartedChecksum | None = None
) -> WeightsState:
    """Return the present state: `before` itself where nothing has changed, in whatever way.

    Values on the CPU are summed natively. Those on a GPU are compared with copies, and the result is waited for; while
    a CUDA graph is captured, which allows no waiting, only addresses and PyTorch's versions are compared.

    Args:
        model: any.
        before: an earlier state.
        same: whether `before.structure` is known to be the model's.
        ahead: of `before.read_ahead`.
    """
    if before is not None and (same or before.structure.same(model)) and _unchanged(before, ahead):
        return before
    tensors = tuple(_tensors(model))
    storages = tuple(tensor.untyped_storage() for tensor in tensors)
    here, away = _by_place(tensors)
    total = checksum(here)
    return WeightsState(
        Structure(model),
        tensors,
        storages,
        places_of(tensors, storages),
        forms_of(tensors),
        spans_of(here),
        total,
        tuple(tensor._version for tensor in away),
        tuple(tensor.clone() for tensor in away),
    )


def odd(model: CPM) -> str | None:
    """Return what keeps a model from being run by its layer list; None if nothing does."""
    if torch_modules._global_forward_hooks or torch_modules._global_forward_pre_hooks:
        return "forward hooks on all modules"
    relu = {layer.name: layer.relu for layer in model.layers if layer.kind == "conv"}
    if model.layers != network_layers(model.config):
        return "other layers than those of its config"
    strange = _strange(model, CPM, "the model") or _strange(model.convs, nn.ModuleDict, "convs")
    if strange is not None:
        return strange
    for name, conv in model.convs._modules.items():
        if not isinstance(conv, ContextConv) or conv.relu != relu.get(name):
            return f"another layer {name} than it was built with"
        strange = _strange(conv, ContextConv, name)
        norm = conv.norm
        if norm is not None and strange is None:
            if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.weight is None:
                return f"another normalization in {name} than it was built with"
            strange = _strange(norm, nn.BatchNorm2d, f"{name}.norm")
        if strange is not None:
            return strange
    return None


def _strange(module: nn.Module, kind: type[nn.Module], name: str) -> str | None:
    """Return what keeps one module from being run by its layer; None if nothing does."""
    if module._forward_hooks or module._forward_pre_hooks:
        return f"forward hooks on {name}"
    # Their own settings may change the weights, and in training every read of a weight may.
    if "parametrizations" in module._modules:
        return f"parametrizations in {name}"
    for method, own in _OWN[kind].items():
        if getattr(type(module), method, None) is not own or method in module.__dict__:
            return f"another {method} in {name} than it was built with"
    return None


def check_eager(crops: torch.Tensor, center_map: torch.Tensor | None) -> None:
    """Raise RuntimeError if a call would be traced or transformed, which native code does not support.

    State prepared then would belong to the trace, and the output of native code would be missing from it.
    """
    reason = None
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        reason = "torch.jit.trace"
    elif torch._C._functorch.peek_interpreter_stack() is not None:
        reason = "a functional transform (vmap, grad, jvp, functionalize)"
    elif torch._C._len_torch_dispatch_stack() and any(map(torch._C._get_dispatch_mode, TRACING_MODES)):
        reason = "a tracing mode (fake tensors, make_fx, torch.export)"
    if reason is not None:
        raise RuntimeError(f"an Engine can't be called under {reason}: trace or transform the model itself")
    check_memory("crops", crops)
    if center_map is not None:
        check_memory("center_map", center_map)


def outside_graphs(call: Callable[Given, Found]) -> Callable[Given, Found]:
    """Let torch.compile leave a function out of its graphs, with all that it calls.

    `torch.compiler.disable` does the same, but importing the compiler takes a second: state prepared while tracing
    would be lost with the trace.
    """

    @wraps(call)
    def plainly(*given: Given.args, **named: Given.kwargs) -> Found:
        before = torch._C._dynamo.eval_frame.set_eval_frame(None)
        try:
            return call(*given, **named)
        finally:
            torch._C._dynamo.eval_frame.set_eval_frame(before)

    frames = torch._C._dynamo.eval_frame
    skipped = frames._FrameExecStrategy(frames._FrameAction.SKIP, frames._FrameAction.DEFAULT)
    frames.set_code_exec_strategy(plainly.__code__, skipped)  # type: ignore[attr-defined]
    plainly._torchdynamo_disable = True  # type: ignore[attr-defined]
    return plainly


def check_not_capturing(device: torch.device, until: str) -> None:
    """Raise RuntimeError while a CUDA graph is captured: tensors made then have no values before a replay."""
    if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        raise RuntimeError(f"an Engine can't be captured in a CUDA graph before {until}: call it once with this shape")


def _tensors(model: CPM) -> Iterator[torch.Tensor]:
    """Yield all that the belief maps depend on in evaluation mode: not how many batches a normalization has seen."""
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if not name.endswith(".num_batches_tracked"):
            yield tensor


def _unchanged(before: WeightsState, ahead: StartedChecksum | None) -> bool:
    """Return whether the tensors of before have their memory, form and values still."""
    if forms_of(before.tensors) != before.forms:
        return False
    ahead = ahead or before.read_ahead()
    if ahead is not None:
        return ahead.result() == before.sum
    if places_of(before.tensors, before.storages) != before.places:
        return False
    here, away = _by_place(before.tensors)
    return (
        tuple(tensor._version for tensor in away) == before.versions
        and checksum(here) == before.sum
        and (not away or torch.cuda.is_current_stream_capturing() or _equal(away, before.copies))
    )


def _by_place(tensors: tuple[torch.Tensor, ...]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return the tensors on the CPU and those elsewhere."""
    here = [tensor for tensor in tensors if tensor.device.type == "cpu"]
    return here, [tensor.detach() for tensor in tensors if tensor.device.type != "cpu"]


def _equal(tensors: list[torch.Tensor], copies: tuple[torch.Tensor, ...]) -> bool:
    """Return whether all values are the same, bit by bit, with one wait for a device."""
    if len(tensors) != len(copies):
        return False
    changed: dict[torch.device, torch.Tensor] = {}
    for tensor, copy in zip(tensors, copies, strict=True):
        integers = _INTEGERS[tensor.element_size()]
        differs = (tensor.view(integers) != copy.view(integers)).any()
        changed[tensor.device] = changed[tensor.device] | differs if tensor.device in changed else differs
    return not any(bool(each) for each in changed.values())
