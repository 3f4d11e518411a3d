"""A model prepared for inference: normalization folded in, convolutions that read the same map run as one."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from tqdm import tqdm

from cpm_fast.engine.changes import check_eager, check_not_capturing, odd, outside_graphs, weights_state
from cpm_fast.engine.checksum import StartedChecksum
from cpm_fast.engine.prepared import Prepared, default_memory
from cpm_fast.engine.tuning import TunedPlan
from cpm_fast.model.cpm import CPM
from cpm_fast.model.groups import Group, layer_groups
from cpm_fast.ops import backend
from cpm_fast.ops.plans.cuda import prediction_source
from cpm_fast.system.fork_lock import fork_lock
from cpm_fast.system.numbers import is_whole, plain
from cpm_fast.system.torch_settings import check_threads, cpu_threads, evaluating, tf32
from cpm_fast.weights import find_device

# The type in which a precision stores activations and weights, and whether products may round to TF32.
STORAGE = {"fp32": (torch.float32, False), "tf32": (torch.float32, True), "bf16": (torch.bfloat16, True)}
PRECISIONS = ("auto", *STORAGE)
# The devices of the other precisions; an engine runs fp32 on every device.
DEVICES = {"tf32": ("cuda",), "bf16": ("cpu", "cuda")}
TIMED_CALLS = 3

# Prepared weights of every live model by device, precision, memory and, if they are tuned, the number of threads that
# they are tuned for: so all engines of a model share them.
_prepared: WeakKeyDictionary[CPM, dict[tuple[torch.device, str, int, int | None], Prepared]] = WeakKeyDictionary()
_preparing = fork_lock()


class Engine:
    """A CPM prepared for inference: called like the model, it returns the same as the model in evaluation mode.

    Weights are taken from the model when first needed, and again whenever they have changed: every call compares a
    checksum of their values, so that fused optimizers, `parameter.data`, views and NumPy arrays of them count too.
    Calls may come from several threads. A model with forward hooks, parametrizations, layers of other kinds or
    methods of its own is called as it is, in evaluation mode. An engine can't be traced or transformed: a compiled
    function calls it as it is. On CUDA every input shape is captured as a graph at its second call, on the current
    stream and without waiting for the device.

    Args:
        model: the network; it stays as it is, on its device.
        device: "auto" is where the model is; another copies the weights there.
        precision: "fp32": as exact as PyTorch's own fp32. "tf32", on CUDA: inputs of products have 10 bits. "bf16", on
            the CPU and CUDA: weights have 7 bits; on CUDA stored maps too, on the CPU only the maps that direct
            convolutions read. Belief maps are returned as float32. "auto" is "fp32".
        threads: CPU threads of a call, at most 1024; PyTorch's number if None. The affinity mask and the CPU quota of
            the process limit them. PyTorch's own number stays as it is.
        memory: bytes that transformed weights may take, a quarter of the machine's and at most 4 GiB if None. With
            less, smaller tiles and direct convolutions are used.
        tune: on the CPU, measure the fastest form of every convolution at the first call with a new input shape,
            instead of taking it from a table: seconds per shape for a large network. The result is kept for other
            processes in the user's cache folder, or in CPM_FAST_CACHE.
        frozen: you promise that neither weights nor hooks of the model change after the first call. They are then not
            checked again, which saves a read of all weights at every call, and on CUDA a wait for the device: there
            every call of an engine that is not frozen waits until the comparison is made. A change is not noticed.

    Raises:
        ValueError: precision, threads or memory is out of its range.
        TypeError: model is not a CPM.
        RuntimeError: the device is not available, or the precision or tuning does not exist on it.

    Examples:
        >>> import torch
        >>> from cpm_fast.weights import load
        >>> engine = Engine(load("compact-drawn", device="cpu"))
        >>> list(engine(torch.zeros(1, 3, 192, 192))[-1].shape)
        [1, 15, 24, 24]
    """

    def __init__(
        self,
        model: CPM,
        *,
        device: str | torch.device = "auto",
        precision: str = "auto",
        threads: int | None = None,
        memory: int | None = None,
        tune: bool = False,
        frozen: bool = False,
    ) -> None:
        if not isinstance(model, CPM):
            raise TypeError(f"model must be a CPM, got {type(model).__name__}")
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {list(PRECISIONS)}, got {precision!r}")
        check_threads(threads)
        if memory is not None and (not is_whole(memory) or memory < 0):
            raise ValueError(f"memory must be a whole number of bytes, 0 or more, got {memory!r}")
        self.memory = default_memory() if memory is None else int(memory)
        self.model = model
        self.config = model.config
        home = next(model.parameters()).device
        self.device = home if device == "auto" else find_device(str(device))
        self.precision = "fp32" if precision == "auto" else precision
        devices = DEVICES.get(self.precision, (self.device.type,))
        if self.device.type not in devices:
            raise RuntimeError(f"precision {precision} is for {' and '.join(devices)}, got device {self.device}")
        if tune and self.device.type != "cpu":
            raise RuntimeError(f"tune is for the CPU, got device {self.device}")
        self.tune = tune
        self.dtype, self.allow_tf32 = STORAGE[self.precision]
        self.threads = plain(threads)
        self.frozen = frozen
        self._checked: Prepared | None = None
        # Other engines run any model, by itself if it is odd: they ask at the first call.
        if tune or self.precision != "fp32" or self.device != home:
            self._check_odd()

    @property
    def groups(self) -> tuple[Group, ...]:
        """The model's layers as they run."""
        return layer_groups(tuple(self.model.layers))

    @outside_graphs
    def __call__(
        self, crops: torch.Tensor, center_map: torch.Tensor | None = None, *, last: bool = False
    ) -> list[torch.Tensor]:
        """Compute the belief maps of every stage, in tensors that no later call writes to.

        Args:
            crops: [N, 3, H, W] normalized network input on the engine's device, H and W multiples of 8.
            center_map: [N, 1, H, W]; if None, the subject is in the middle of the box.
            last: whether to return the maps of the last stage alone, a list of one; no others are copied then.

        Returns:
            T tensors [N, P+1, H/8, W/8] float32, background last.

        Raises:
            ValueError: a shape does not fit.
            TypeError: crops are not floating point.
            RuntimeError: a tensor is on another device or has no memory of its own, or the call is traced or
                transformed (torch.jit.trace, torch.export, make_fx, vmap, functional gradients).
        """
        self.model.check(crops, center_map)
        for name, tensor in (("crops", crops), ("center_map", center_map)):
            if tensor is not None and tensor.device != self.device:
                raise RuntimeError(f"{name} must be on {self.device}, where the engine is, got {tensor.device}")
        check_eager(crops, center_map)
        # The outputs may be written to later, in or out of the caller's inference mode.
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            cpu_threads(self.threads),
            tf32(self.allow_tf32, self.device),
        ):
            weights = self._present()
            if weights is None:
                with evaluating(self.model):
                    stages: list[torch.Tensor] = self.model(crops, center_map)
            elif weights.graphs is not None and len(crops):
                stages = weights.graphs(crops, center_map)
            else:
                return weights.run(crops, center_map, last=last)
            return stages[-1:] if last else stages

    def describe(self, batch: int = 1, measure: bool = False) -> str:
        """Return the plan as a table: groups, shapes, work, algorithm with predicted and, if asked for, measured time.

        The predictions of a tuned engine are its measurements, layer by layer.

        Args:
            batch: images per call.
            measure: whether to run it, on random input of the configured size; the best of three calls counts.
        """
        size = self.config.input_size
        seconds: dict[str, float] = {}

        def note(name: str, taken: float) -> None:
            seconds[name] = min(taken, seconds.get(name, taken))

        with (
            torch.inference_mode(False),
            torch.no_grad(),
            cpu_threads(self.threads),
            tf32(self.allow_tf32, self.device),
        ):
            weights = self._fresh(self._known(self._last()))
            choices = weights.choices(batch, size)
            if measure:
                crops = torch.randn(batch, 3, *size, dtype=torch.float32, device=self.device)
                for _ in tqdm(range(TIMED_CALLS), desc="engine", unit="call", leave=False):
                    weights.run(crops, None, note)
        lines = [
            f"{'group':<44} {'kernel':>6} {'channels':>10} {'map':>9} {'GMAC':>8} {'algorithm':<14} "
            f"{'predicted ms':>12} {'ms':>9}"
        ]
        for group in self.groups:
            layer, (algorithm, predicted) = group.first, choices[group.name]
            channels = f"{layer.in_channels}->{group.channels}" if layer.kind == "conv" else str(group.channels)
            expected = "" if predicted is None else f"{predicted:.3f}"
            taken = f"{1e3 * seconds[group.name]:9.3f}" if group.name in seconds else ""
            place = f"{layer.size[0]}x{layer.size[1]}"
            lines.append(
                f"{_shortened(group.name, 44):<44} {layer.kernel:>6} {channels:>10} {place:>9} "
                f"{batch * group.macs / 1e9:8.3f} {algorithm:<14} {expected:>12} {taken}".rstrip()
            )
        work = batch * sum(group.macs for group in self.groups) / 1e9
        total = f"{work:.3f} GMAC for {batch} of {size}"
        if seconds:
            total += f", {1e3 * sum(seconds.values()):.1f} ms"
        lines.append(f"{total}, {self.precision} on {self.device}")
        if self.device.type == "cuda":
            lines.append(f"predicted: {prediction_source()}")
        return "\n".join(lines)

    def _key(self) -> tuple[torch.device, str, int, int | None]:
        """Return what the prepared weights of a model depend on, besides the model."""
        # Without native code there is nothing to choose from, and a forked process can't measure.
        tunes = self.tune and backend.native_missing("cpu") is None and not backend.forked()
        return self.device, self.precision, self.memory, backend.threads() if tunes else None

    def _present(self) -> Prepared | None:
        """Return the weights for a call, prepared from the model's present ones; None if the model must run by itself.

        Other threads read the weights while this one looks at the modules.
        """
        last = self._last()
        ahead = None if last is None or self.frozen else last.versions.read_ahead()
        try:
            known = self._known(last)
            return None if known is None and self._check_odd() else self._fresh(known, ahead)
        finally:
            # After an exception the owner may release the memory, so no thread may still be reading it.
            if ahead is not None:
                ahead.result()

    def _last(self) -> Prepared | None:
        """Return the prepared weights of the last call.

        Before this engine's first call, that is a call of another engine that shares its prepared weights.
        """
        return self._checked or _prepared.get(self.model, {}).get(self._key())

    def _known(self, last: Prepared | None) -> Prepared | None:
        """Return `last` if the modules are still those, or this engine is frozen and has been called."""
        if last is None or (self.frozen and last is self._checked):
            return last
        return last if last.versions.structure.same(self.model) else None

    def _fresh(self, known: Prepared | None = None, ahead: StartedChecksum | None = None) -> Prepared:
        """Return the prepared weights, made anew if the model's have changed.

        Args:
            known: those of `_known`.
            ahead: their checksum, if other threads have begun it.
        """
        key = self._key()
        with _preparing:
            shared = _prepared.setdefault(self.model, {})
            if self.frozen and self._checked is not None and shared.get(key) is self._checked:
                return self._checked
            before = shared[key].versions if key in shared else None
            same = known is not None and known is shared.get(key)
            versions = weights_state(self.model, before, same, ahead if same else None)
            if before is not versions:
                check_not_capturing(self.device, "its weights are prepared")
                tuned = None if key[-1] is None else TunedPlan(self.dtype)
                shared[key] = Prepared(self.model, versions, self.groups, self.device, self.dtype, self.memory, tuned)
            self._checked = shared[key]
            return shared[key]

    def _check_odd(self) -> bool:
        """Return whether the model must run by itself.

        Raises:
            RuntimeError: it can't, with the settings of this engine.
        """
        reason = odd(self.model)
        if reason is None:
            return False
        if self.tune or self.precision != "fp32" or self.device != next(self.model.parameters()).device:
            raise RuntimeError(f"a model with {reason} runs on its own device, in fp32 and untuned only")
        return True


def _shortened(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 3] + "..."
