"""Tests that need a GPU: real shapes, streams, graphs, memory. Tests that are useful on a CPU also run there.

Tests whose names or cases have "core" are small enough for compute-sanitizer; CONTRIBUTING.md has the command.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

import pytest
import torch

from cpm_fast.config import preset
from cpm_fast.model.cpm import CPM
from cpm_fast.ops import backend
from cpm_fast.ops.context_conv import context_conv
from support import exact
from support.cases import RELATIVE_ERROR, ConvCase
from support.exact import relative_error
from support.gpu_cases import CORE_CASES, REAL_CASES, SPECTRAL_CASES

op = torch.ops.cpm_fast.context_conv.default
GPU_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MODEL_STEPS = {"cpu": 3, "cuda": 200}


@pytest.fixture
def gpu() -> str:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    missing = backend.triton_missing("cuda", torch.cuda.current_device())
    if missing:
        pytest.skip(missing)
    return "cuda"


@pytest.fixture
def conv_device(device: str) -> str:
    if device == "cuda" and backend.triton_missing("cuda", torch.cuda.current_device()):
        pytest.skip(str(backend.triton_missing("cuda", torch.cuda.current_device())))
    return device


def limit(dtype: torch.dtype) -> float:
    return RELATIVE_ERROR["context_conv", "tf32" if dtype == torch.float32 else dtype]


def check(case: ConvCase, device: str, dtype: torch.dtype, generator: torch.Generator) -> None:
    """Compare result and gradients with the float64 reference on the same device, with the op's own ReLU mask."""
    inputs = [t.requires_grad_() for t in case.inputs(generator, device, dtype)]
    y = op(*inputs, case.relu)
    dy = torch.randn(y.shape, generator=generator).to(y)
    gradients = torch.autograd.grad(y, inputs, dy)
    assert relative_error(y, exact.conv(*inputs, case.relu)) <= limit(dtype)
    gate = y.detach() if case.relu else None
    for gradient, wanted in zip(gradients, exact.conv_gradients(dy, *inputs, gate), strict=True):
        # Random inputs once gave 1.26 bounds, in bfloat16: the sums of a gradient are over all pixels.
        assert relative_error(gradient, wanted) <= 2 * limit(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CORE_CASES, ids=str)
def test_core(case: ConvCase, dtype: torch.dtype, conv_device: str, generator: torch.Generator) -> None:
    check(case, conv_device, dtype, generator)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", GPU_DTYPES, ids=str)
@pytest.mark.parametrize("case", REAL_CASES, ids=str)
def test_real_shapes(case: ConvCase, dtype: torch.dtype, gpu: str, generator: torch.Generator) -> None:
    check(case, gpu, dtype, generator)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["tf32", "tf32x3", "ieee", "fp16", "bf16"])
@pytest.mark.parametrize(("case", "tile"), SPECTRAL_CASES, ids=str)
def test_spectral_shapes(case: ConvCase, tile: int, mode: str, gpu: str, generator: torch.Generator) -> None:
    """Every tile and every mode runs, also those that the plan does not choose; equal input gives equal bits."""
    from cpm_fast.kernels import spectral_conv as kernels

    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(mode, torch.float32)
    major, minor = torch.cuda.get_device_capability()
    capability, bound = 10 * major + minor, RELATIVE_ERROR["spectral_conv", mode]
    x, weight, bias = case.inputs(generator, gpu, dtype)
    spectra = kernels.transform_weight(weight, tile, False, kernels.FORWARD_SPECTRA[mode], mode)
    y = kernels.forward(x, spectra, bias, case.relu, case.kernel, mode, capability)
    assert relative_error(y, exact.conv(x, weight, bias, case.relu)) <= bound
    dy = torch.randn(y.shape, generator=generator).to(y)
    gate = y if case.relu else None
    once, again = (kernels.backward(dy, x, weight, gate, (True, True, True), tile, mode, capability) for _ in range(2))
    for gradient, same, wanted in zip(once, again, exact.conv_gradients(dy, x, weight, bias, gate), strict=True):
        assert gradient is not None and same is not None and torch.equal(gradient, same)
        assert relative_error(gradient, wanted) <= bound


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_the_engine_is_spectral_and_as_exact_as_promised(precision: str, gpu: str) -> None:
    from cpm_fast.engine import Engine

    model = CPM.preset("cpm6").to(gpu).eval()
    engine = Engine(model, precision=precision)
    assert "spectral" in engine.describe(2)
    crops = torch.rand(2, 3, *model.config.input_size, device=gpu) - 0.5
    with torch.no_grad():
        wanted = model.double()(crops.double())[-1]
    model.float()
    for _ in range(3):  # plainly, captured, replayed
        found = engine(crops)[-1].double()
        error = float((found - wanted).norm() / wanted.norm())
        assert error <= {"fp32": 1e-5, "tf32": 1e-2, "bf16": 8e-2}[precision]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["ieee", "none"])
def test_float32_is_as_exact_as_asked(precision: str, gpu: str, generator: torch.Generator) -> None:
    x, weight, bias = REAL_CASES[-2].inputs(generator, gpu)
    conv = torch.backends.cudnn.conv
    before, conv.fp32_precision = conv.fp32_precision, precision
    try:
        y = op(x, weight, bias, True)
    finally:
        conv.fp32_precision = before
    mode = {"none": "tf32x3"}.get(precision, precision)
    assert relative_error(y, exact.conv(x, weight, bias, True)) <= RELATIVE_ERROR["context_conv", mode]


@pytest.mark.gpu
@pytest.mark.parametrize("warps", [4, 8])
@pytest.mark.parametrize("dtype", GPU_DTYPES, ids=str)
def test_any_number_of_warps(
    warps: int, dtype: torch.dtype, gpu: str, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    """A published kernel of this kind, with one flat loop, is wrong with 8 warps on Hopper; both counts are tested."""
    from cpm_fast.kernels import direct_conv, direct_conv_weight

    monkeypatch.setattr("cpm_fast.ops.context_conv.choose_cuda_tile", lambda *shape, **kwargs: None)
    for module, name in ((direct_conv, "forward_tile"), (direct_conv_weight, "dweight_tile")):
        plan = getattr(module, name)
        monkeypatch.setattr(
            module,
            name,
            lambda *sizes, plan=plan: dataclasses.replace(plan(*sizes), pixels=64, out=64, depth=32, warps=warps),
        )
    for case in (*CORE_CASES, REAL_CASES[-2]):
        check(case, gpu, dtype, generator)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", GPU_DTYPES, ids=str)
def test_opcheck(dtype: torch.dtype, gpu: str, generator: torch.Generator) -> None:
    for case in CORE_CASES:
        inputs = [t.requires_grad_() for t in case.inputs(generator, gpu, dtype)]
        torch.library.opcheck(op, (*inputs, case.relu))


def test_gradients_are_deterministic(conv_device: str, generator: torch.Generator) -> None:
    inputs = [t.requires_grad_() for t in ConvCase("", 4, 16, 32, 5, (46, 46)).inputs(generator, conv_device)]
    y = op(*inputs, True)
    dy = torch.randn(y.shape, generator=generator).to(y)
    once, again = (torch.autograd.grad(y, inputs, dy, retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", GPU_DTYPES, ids=str)
def test_graph_replays_with_changing_inputs(dtype: torch.dtype, gpu: str, generator: torch.Generator) -> None:
    """Result and gradients are captured once and replayed on other pixels and other weights."""
    case = CORE_CASES[1]
    still = [t.requires_grad_() for t in case.inputs(generator, gpu, dtype)]
    dy = torch.randn(case.images, case.out_channels, *case.size, device=gpu).to(dtype)

    def step() -> tuple[torch.Tensor, ...]:
        y = op(*still, case.relu)
        return y.detach(), *torch.autograd.grad(y, still, dy)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for _ in range(3):
        with torch.no_grad():
            for old, new in zip(still, case.inputs(generator, gpu, dtype), strict=True):
                old.copy_(new)
        graph.replay()
        for result, wanted in zip(captured, step(), strict=True):
            assert torch.equal(result, wanted)


@pytest.mark.gpu
def test_runs_on_the_current_stream(gpu: str, generator: torch.Generator) -> None:
    """The input is written late on a side stream: an op on another stream would read the old values."""
    x, weight, bias = REAL_CASES[-2].inputs(generator, gpu)
    wanted = op(x, weight, bias, True)
    late = torch.full_like(x, float("nan"))
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(200_000_000)
        late.copy_(x)
        y = op(late, weight, bias, True)
    assert not stream.query(), "the call must not wait for the device"
    stream.synchronize()
    assert torch.equal(y, wanted)


@pytest.mark.gpu
def test_runs_on_the_tensors_device(gpu: str, generator: torch.Generator) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device")
    with torch.cuda.device(0):
        check(CORE_CASES[1], "cuda:1", torch.float16, generator)


def test_two_models_at_once(conv_device: str) -> None:
    """Two networks in two threads, each on its own stream, give the results of runs one after the other."""
    models = [CPM.preset("compact").to(conv_device).eval() for _ in range(2)]
    crops = [torch.rand(2, 3, *model.config.input_size, device=conv_device) for model in models]
    with torch.no_grad():
        wanted = [model(x)[-1] for model, x in zip(models, crops, strict=True)]
    results: dict[int, list[torch.Tensor]] = {0: [], 1: []}

    def run(index: int) -> None:
        with torch.no_grad():
            for _ in range(4):
                results[index].append(models[index](crops[index])[-1])

    def run_on_stream(index: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            run(index)
            torch.cuda.current_stream().synchronize()

    if conv_device == "cuda":
        torch.cuda.synchronize()
    target: Callable[[int], None] = run_on_stream if conv_device == "cuda" else run
    threads = [threading.Thread(target=target, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in (0, 1):
        assert len(results[index]) == 4
        for maps in results[index]:
            torch.testing.assert_close(maps, wanted[index])


@pytest.mark.slow
@pytest.mark.parametrize("amp", [False, True], ids=["float32", "amp"])
def test_training_steps_keep_memory_level(amp: bool, conv_device: str) -> None:
    """Loss falls, no value becomes NaN, and on CUDA the last step holds no more memory than the tenth."""
    torch.manual_seed(0)
    config = dataclasses.replace(preset("compact", None), input_size=(64, 64))
    model = CPM(config).to(conv_device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    crops = torch.rand(2, 3, 64, 64, device=conv_device)
    losses, memory = [], []
    for _ in range(MODEL_STEPS[conv_device]):
        with torch.autocast(conv_device, torch.bfloat16, enabled=amp):
            loss = sum(((maps.float() - 0.5) ** 2).mean() for maps in model(crops))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if conv_device == "cuda":
            memory.append(torch.cuda.memory_allocated())
    assert torch.stack(losses).isfinite().all() and losses[-1] < losses[0]
    # PyTorch counts no memory on a CPU.
    if conv_device == "cuda":
        assert memory[-1] <= memory[9] + len(losses) * 1024  # the losses themselves


@pytest.mark.gpu
def test_amp_trains_through_the_kernels(gpu: str, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    from cpm_fast.kernels import context_conv as kernels

    monkeypatch.setattr("cpm_fast.ops.context_conv.choose_cuda_tile", lambda *shape, **kwargs: None)
    modes = []
    forward = kernels.forward
    monkeypatch.setattr(kernels, "forward", lambda *a: modes.append(a[4]) or forward(*a))
    x, weight, bias = CORE_CASES[0].inputs(generator, gpu)
    with torch.autocast("cuda", torch.float16):
        context_conv(x, weight.requires_grad_(), bias, True).float().sum().backward()
    assert set(modes) == {"fp16"} and weight.grad is not None and weight.grad.dtype == torch.float32
