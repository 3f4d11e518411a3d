"""Contestants that compute in PyTorch: ours, PyTorch in both layouts, its compiler, torch.fft, and the float64 oracle.

A peer is a function from a problem to a call; it runs in a worker, imports its libraries there, and raises
`Unavailable` with the command to type if it can't run.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

import cpm_fast
from benchmarks.harness.oracle import ExactConv
from benchmarks.harness.problems import LEARNING_RATE, LayerProblem, NetworkProblem, Setting, TrainProblem
from benchmarks.harness.worker import Run, Start, Unavailable
from benchmarks.peers.fourier import SMALLEST_KERNEL, FourierConv, fastest_tile
from benchmarks.peers.plain import PlainNetwork
from cpm_fast.model.cpm import CPM
from cpm_fast.model.layers import Layer
from cpm_fast.ops.context_conv import context_conv
from cpm_fast.system.memory import keep_freed_memory
from cpm_fast.training.targets.loss import Targets, stage_losses

MOMENTUM = 0.9
# Layouts are passed by name: torch pickles its objects as attributes of any loaded module that imports torch, which a
# worker may lack.
Layout = Literal["contiguous", "channels_last"]
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
Module = Callable[[torch.Tensor], Any]
Compile = Callable[[Module], Module]


@dataclass(frozen=True)
class Peer:
    """A row of a table.

    Args:
        name: of the row.
        start: the function that starts it, at the top level of a module, since it is sent to a worker. note: after the
        row.
        environment: variables of its worker.
    """

    name: str
    start: Start
    note: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


def set_up(setting: Setting) -> None:
    """Set PyTorch to its best settings in a precision."""
    if setting.device == "cuda" and not torch.cuda.is_available():
        raise Unavailable("PyTorch sees no CUDA device; on a machine with one, install a CUDA build of torch")
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = setting.precision == "tf32"
    torch.set_float32_matmul_precision("high" if setting.precision == "tf32" else "highest")


def placed(value: Any, setting: Setting, layout: Layout) -> Any:
    """Move a tensor or module to the device and the layout of the setting."""
    return value.to(device=setting.device, dtype=setting.dtype, memory_format=LAYOUTS[layout])


def as_is(module: Module) -> Module:
    return module


def compiled(module: Module) -> Module:
    """Compile by torch.compile for the exact shape; on CUDA with its longest search."""
    if not torch.cuda.is_available() and not (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")):
        raise Unavailable("torch.compile needs a C++ compiler; on Debian or Ubuntu: apt install g++")
    mode = "max-autotune-no-cudagraphs" if torch.cuda.is_available() else None
    done: Module = torch.compile(module, dynamic=False, mode=mode)
    return done


def repeated(run: Run, setting: Setting) -> Run:
    """Return the call itself; on CUDA, a graph of it: the same for ours and the peers."""
    if setting.device != "cuda":
        return run
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = run()

    def replay() -> Sequence[Any]:
        graph.replay()
        return outputs

    return replay


def without_gradients(module: Module, x: torch.Tensor) -> Run:
    @torch.no_grad()
    def run() -> Sequence[torch.Tensor]:
        y = module(x)
        return [y] if isinstance(y, torch.Tensor) else y

    return run


# Layers


def run_layer(problem: LayerProblem, module: nn.Module, forward: Module, x: torch.Tensor, dy: torch.Tensor) -> Run:
    """Run forward, or forward and backward; return y, then the gradients of x and the parameters of `module`."""
    if not problem.backward:
        return repeated(without_gradients(forward, x), problem.setting)
    # The gradient of sum(dy y^2 / 2), which is 0 where ReLU switches: rounding may go either way there.
    with torch.no_grad():
        dy = dy * forward(x)
    leaves = [x.requires_grad_(), *module.parameters()] if problem.needs_dx else list(module.parameters())

    def both() -> Sequence[torch.Tensor]:
        y = forward(x)
        return [y.detach(), *torch.autograd.grad(y, leaves, dy)]

    return repeated(both, problem.setting)


def pytorch_layer(problem: LayerProblem, layout: Layout, compile_it: Compile = as_is) -> Run:
    set_up(problem.setting)
    conv, x, dy = problem.conv()
    module = nn.Sequential(conv, nn.ReLU(inplace=True)) if problem.layer.relu else nn.Sequential(conv)
    module, x, dy = (placed(value, problem.setting, layout) for value in (module, x, dy))
    return run_layer(problem, module, compile_it(module), x, dy)


def cpm_fast_layer(problem: LayerProblem) -> Run:
    set_up(problem.setting)
    conv, x, dy = problem.conv()
    conv, x, dy = (placed(value, problem.setting, "channels_last") for value in (conv, x, dy))
    weight, bias, relu = conv.weight, conv.bias, problem.layer.relu
    assert bias is not None
    return run_layer(problem, conv, lambda x: context_conv(x, weight, bias, relu), x, dy)


def fourier_layer(problem: LayerProblem) -> Run:
    if problem.layer.kernel < SMALLEST_KERNEL:
        raise Unavailable("left to direct convolution: its window is too small for transforms")
    conv, x, dy = problem.conv()
    tile, _ = fastest_tile(problem.layer, problem.batch)
    module = nn.Sequential(
        FourierConv(conv, tile, problem.backward), nn.ReLU() if problem.layer.relu else nn.Identity()
    )
    return run_layer(problem, module, module, x, dy)


def exact_layer(problem: LayerProblem) -> Run:
    """Run like `run_layer`, with one forward pass for both, because float64 is slow."""
    device, wide = problem.setting.device, torch.float64
    conv, x, dy = problem.conv()
    module = nn.Sequential(ExactConv(conv), nn.ReLU() if problem.layer.relu else nn.Identity()).to(device)
    x, dy = x.to(device, wide).requires_grad_(problem.needs_dx), dy.to(device, wide)

    def run() -> Sequence[torch.Tensor]:
        y = module(x)
        leaves = [x, *module.parameters()] if problem.needs_dx else list(module.parameters())
        return [y.detach(), *torch.autograd.grad(y, leaves, dy * y.detach())]

    return run


# Networks


def engine_of(model: CPM, setting: Setting, frozen: bool = False) -> Module:
    """Return our best form of a model for inference, called as users call it; frozen as `infer` does by name."""
    engine = getattr(cpm_fast, "Engine", None)
    if engine is None:
        return model.to(device=setting.device, dtype=setting.dtype)
    threads, more = torch.get_num_threads(), {"frozen": True} if frozen else {}
    made: Module = engine(model, device=setting.device, precision=setting.precision, threads=threads, **more)
    return made


def cpm_fast_network(problem: NetworkProblem, frozen: bool = False) -> Run:
    set_up(problem.setting)
    model, crops = problem.model(), problem.crops().to(problem.setting.device)
    if not hasattr(cpm_fast, "Engine"):
        crops = crops.to(problem.setting.dtype)
    made: list[Module] = []

    @torch.no_grad()
    def run() -> Sequence[torch.Tensor]:
        # Preparation is part of the first call, which is timed separately.
        if not made:
            made.append(engine_of(model, problem.setting, frozen))
        return made[0](crops)

    return run


def pytorch_network(problem: NetworkProblem, layout: Layout, compile_it: Compile = as_is) -> Run:
    set_up(problem.setting)
    network, crops = (
        placed(value, problem.setting, layout) for value in (PlainNetwork(problem.model()), problem.crops())
    )
    return repeated(without_gradients(compile_it(network), crops), problem.setting)


def fourier_network(problem: NetworkProblem) -> Run:
    """Return a network with transforms where they are faster than PyTorch's own convolution."""

    def make_conv(conv: nn.Conv2d, layer: Layer) -> nn.Module:
        if layer.kernel < SMALLEST_KERNEL:
            return conv
        # The same shape under other names is measured once.
        shape = replace(layer, name="", inputs=(), stage=0, relu=True, norm=False)
        tile, faster = fastest_tile(shape, problem.batch)
        return FourierConv(conv, tile, training=False) if faster else conv

    return without_gradients(PlainNetwork(problem.model(), make_conv=make_conv), problem.crops())


def exact_network(problem: NetworkProblem) -> Run:
    network = PlainNetwork(problem.model(), make_conv=lambda conv, _: ExactConv(conv))
    device = problem.setting.device
    return without_gradients(network.to(device, torch.float64), problem.crops().to(device, torch.float64))


# Training steps


def run_step(problem: TrainProblem, model: nn.Module, forward: Module, crops: torch.Tensor, targets: Targets) -> Run:
    """Run one step; return the stages' losses and the gradients of all parameters."""
    if problem.setting.device == "cpu":
        # `cpm-fast train` does the same; it also speeds up a step of PyTorch.
        keep_freed_memory()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    # The oracle stays in float64.
    mixed = problem.setting.dtype.itemsize == 2 and crops.dtype == torch.float32

    def run() -> Sequence[torch.Tensor]:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(problem.setting.device, problem.setting.dtype, enabled=mixed):
            beliefs = forward(crops)
        losses = stage_losses(beliefs, targets)
        losses.sum().backward()
        optimizer.step()
        return [losses.detach(), *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]

    return run


def _moved(targets: Targets, device: str, dtype: torch.dtype) -> Targets:
    names = ("everyone", "subject", "everyone_counts", "subject_counts")
    return replace(targets, **{name: getattr(targets, name).to(device, dtype) for name in names})


def cpm_fast_step(problem: TrainProblem) -> Run:
    set_up(problem.setting)
    model, device = problem.model().train().to(problem.setting.device), problem.setting.device
    return run_step(problem, model, model, problem.crops().to(device), _moved(problem.targets(), device, torch.float32))


def pytorch_step(problem: TrainProblem, layout: Layout, compile_it: Compile = as_is) -> Run:
    set_up(problem.setting)
    # Weights stay float32; autocast uses 16 bits if requested.
    setting = Setting(problem.setting.device)
    model, crops = (placed(value, setting, layout) for value in (PlainNetwork(problem.model(), True), problem.crops()))
    return run_step(problem, model, compile_it(model), crops, _moved(problem.targets(), setting.device, torch.float32))


def exact_step(problem: TrainProblem) -> Run:
    device, wide = problem.setting.device, torch.float64
    model = PlainNetwork(problem.model(), training=True, make_conv=lambda conv, _: ExactConv(conv)).to(device, wide)
    return run_step(problem, model, model, problem.crops().to(device, wide), _moved(problem.targets(), device, wide))


def torch_peers(ours: Start, pytorch: Callable[..., Run], with_compiler: bool) -> list[Peer]:
    """Return ours first, then PyTorch: NCHW (the reference), channels_last, and compiled."""
    peers = [
        Peer("cpm_fast", ours),
        Peer("PyTorch", partial(pytorch, layout="contiguous"), "the reference"),
        Peer("PyTorch channels_last", partial(pytorch, layout="channels_last")),
    ]
    if with_compiler:
        best = partial(pytorch, layout="channels_last", compile_it=compiled)
        peers.append(Peer("torch.compile", best, "channels_last"))
    return peers
