"""context_conv's op against its reference: on the CPU PyTorch's kernels or spectral, on CUDA the Triton kernels."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from cpm_fast.ops import backend
from cpm_fast.ops import context_conv as ops
from cpm_fast.ops.context_conv import context_conv
from cpm_fast.ops.plans.modes import mode_of
from cpm_fast.reference.context_conv import context_conv as reference
from support import exact
from support.cases import CONTEXT_CONV, CONTEXT_CONV_LARGE, RELATIVE_ERROR, ConvCase
from support.exact import relative_error

# The test calls the op itself: if it is direct on the CPU, the public function calls the reference, the same
# arithmetic.
op = torch.ops.cpm_fast.context_conv.default
backward_op = torch.ops.cpm_fast.context_conv_backward.default
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
IMAGE = CONTEXT_CONV[0]


@pytest.fixture
def conv_device(device: str) -> str:
    if device == "cuda" and backend.triton_missing("cuda", None):
        pytest.skip(str(backend.triton_missing("cuda", None)))
    return device


def bound(dtype: torch.dtype, device: str) -> float:
    """float32 on CUDA is TF32, PyTorch's default for convolutions."""
    return RELATIVE_ERROR["context_conv", "tf32" if (device, dtype) == ("cuda", torch.float32) else dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CONTEXT_CONV + CONTEXT_CONV_LARGE, ids=str)
def test_matches_reference(
    case: ConvCase, dtype: torch.dtype, conv_device: str, poisoned_memory: None, generator: torch.Generator
) -> None:
    if (conv_device, dtype) == ("cuda", torch.float64):
        pytest.skip("float64 runs on the reference on CUDA")
    x, weight, bias = case.inputs(generator, conv_device, dtype)
    y = op(x, weight, bias, case.relu)
    assert y.dtype == dtype and y.device == x.device and y.is_contiguous(memory_format=torch.channels_last)
    assert relative_error(y, exact.conv(x, weight, bias, case.relu)) <= bound(dtype, conv_device)


PRECISIONS = {"tf32": "tf32", "ieee": "ieee", "none": "tf32x3"}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_mode_on_cuda_follows_the_float32_precision(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "conv", SimpleNamespace(fp32_precision=precision))
    assert mode_of(torch.float32) == PRECISIONS[precision]
    assert (mode_of(torch.float16), mode_of(torch.bfloat16)) == ("fp16", "bf16")


def test_the_cpu_knows_no_float32_precision(monkeypatch: pytest.MonkeyPatch, generator: torch.Generator) -> None:
    """The setting of cuDNN changes no bit of a result on the CPU, which has the exactness of float32."""
    x, weight, bias = IMAGE.inputs(generator, "cpu")
    results = []
    for precision in PRECISIONS:
        monkeypatch.setattr(torch.backends.cudnn, "conv", SimpleNamespace(fp32_precision=precision))
        results.append(op(x, weight, bias, True))
    assert all(torch.equal(result, results[0]) for result in results)
    assert relative_error(results[0], exact.conv(x, weight, bias, True)) <= RELATIVE_ERROR["context_conv", "ieee"]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", PRECISIONS)
def test_matches_reference_in_each_float32_precision(
    precision: str, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    monkeypatch.setattr(torch.backends.cudnn, "conv", SimpleNamespace(fp32_precision=precision))
    x, weight, bias = IMAGE.inputs(generator, "cuda")
    error = relative_error(op(x, weight, bias, True), exact.conv(x, weight, bias, True))
    assert error <= RELATIVE_ERROR["context_conv", PRECISIONS[precision]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", CONTEXT_CONV + CONTEXT_CONV_LARGE, ids=str)
def test_gradient_matches_reference(
    case: ConvCase, dtype: torch.dtype, conv_device: str, poisoned_memory: None, generator: torch.Generator
) -> None:
    if (conv_device, dtype) == ("cuda", torch.float64):
        pytest.skip("float64 runs on the reference on CUDA")
    if (conv_device, dtype) == ("cpu", torch.float16):
        pytest.skip("PyTorch's CPU convolution adds float16 gradients in float16")
    inputs = [t.requires_grad_() for t in case.inputs(generator, conv_device, dtype)]
    y = op(*inputs, case.relu)
    dy = torch.randn(y.shape, generator=generator).to(y)
    gradients = torch.autograd.grad(y, inputs, dy)
    for gradient, wanted in zip(
        gradients, exact.conv_gradients(dy, *inputs, y.detach() if case.relu else None), strict=True
    ):
        assert gradient.dtype == dtype
        # In one thread the error of PyTorch's own sums over many pixels was 1.1e-6, a little more than one bound.
        assert relative_error(gradient, wanted) <= 2 * bound(dtype, conv_device)


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (1, 2)], ids=str)
def test_gradient_of_what_asks_for_it(wanted: tuple[int, ...], conv_device: str, generator: torch.Generator) -> None:
    inputs = list(IMAGE.inputs(generator, conv_device))
    for index in wanted:
        inputs[index].requires_grad_()
    op(*inputs, True).square().sum().backward()
    gradients = [t.grad for t in inputs]
    assert [index for index, gradient in enumerate(gradients) if gradient is not None] == list(wanted)
    for t in inputs:
        t.grad = None
    reference(*inputs, True).square().sum().backward()
    for index in wanted:
        assert relative_error(gradients[index], inputs[index].grad) <= 3 * bound(torch.float32, conv_device)


@pytest.mark.skipif(backend.native_missing("cpu") is not None, reason="the native module is not built")
@pytest.mark.parametrize("case", CONTEXT_CONV_LARGE, ids=str)
def test_public_function_is_spectral_where_that_pays(case: ConvCase, generator: torch.Generator) -> None:
    inputs = [t.requires_grad_() for t in case.inputs(generator)]
    y = context_conv(*inputs, case.relu)
    assert "context_conv" in type(y.grad_fn).__name__
    with backend.use_backend("reference"):
        plain = context_conv(*inputs, case.relu)
    assert "context_conv" not in type(plain.grad_fn).__name__
    assert relative_error(y, plain.detach()) <= 2 * RELATIVE_ERROR["context_conv", torch.float32]


def test_gradient_matches_finite_differences(generator: torch.Generator) -> None:
    inputs = [t.requires_grad_() for t in ConvCase("", 2, 3, 2, 3, (4, 5)).inputs(generator, dtype=torch.float64)]
    for relu in (True, False):
        assert torch.autograd.gradcheck(lambda *t, relu=relu: op(*t, relu), inputs)


def test_gradient_has_no_gradient(conv_device: str, generator: torch.Generator) -> None:
    x, weight, bias = IMAGE.inputs(generator, conv_device)
    weight.requires_grad_()
    (dweight,) = torch.autograd.grad(op(x, weight, bias, False).square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="context_conv has no second gradient"):
        dweight.sum().backward()


@pytest.mark.parametrize("name", backend.BACKENDS)
def test_public_function_is_differentiable_on_either_backend(name: str, generator: torch.Generator) -> None:
    x, weight, bias = IMAGE.inputs(generator, dtype=torch.float64)
    with backend.use_backend(name):
        y = context_conv(x.requires_grad_(), weight, bias, True)
    assert relative_error(y, reference(x.detach(), weight, bias, True)) <= 1e-14
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert dx.shape == x.shape


REJECTED = {
    "x-rank": (dict(x=torch.zeros(3, 8, 8)), ValueError, r"x must be \[N, C, h, w\], got \[3, 8, 8\]"),
    "weight-even": (dict(weight=torch.zeros(4, 3, 2, 2)), ValueError, r"odd k, got \[4, 3, 2, 2\]"),
    "weight-oblong": (dict(weight=torch.zeros(4, 3, 3, 5)), ValueError, r"weight must be \[O, C, k, k\]"),
    "weight-rank": (dict(weight=torch.zeros(4, 3, 9)), ValueError, r"weight must be \[O, C, k, k\]"),
    "weight-large": (dict(weight=torch.zeros(4, 3, 17, 17)), ValueError, "k of at most 15"),
    "weight-channels": (dict(weight=torch.zeros(4, 5, 3, 3)), ValueError, r"C = 3 .* got \[4, 5, 3, 3\]"),
    "bias-shape": (dict(bias=torch.zeros(3)), ValueError, r"bias must be \[4\], got \[3\]"),
    "x-integer": (dict(x=torch.zeros(1, 3, 8, 8, dtype=torch.int32)), TypeError, "x must be floating point.*int32"),
    "bias-integer": (dict(bias=torch.zeros(4, dtype=torch.int64)), TypeError, "bias must be floating point"),
    "weight-dtype": (dict(weight=torch.zeros(4, 3, 3, 3).half()), TypeError, "weight must be torch.float32 .*float16"),
    "bias-dtype": (dict(bias=torch.zeros(4).double()), TypeError, "bias must be torch.float32 .*float64"),
    "weight-device": (dict(weight=torch.zeros(4, 3, 3, 3, device="meta")), RuntimeError, "weight must be on cpu.*meta"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_rejects(name: str) -> None:
    changed, error, message = REJECTED[name]
    good = dict(x=torch.zeros(1, 3, 8, 8), weight=torch.zeros(4, 3, 3, 3), bias=torch.zeros(4), relu=True)
    context_conv(**good)
    with pytest.raises(error, match=message):
        context_conv(**{**good, **changed})


@pytest.mark.parametrize("case", [CONTEXT_CONV[0], CONTEXT_CONV[1], CONTEXT_CONV[-1], CONTEXT_CONV_LARGE[0]], ids=str)
def test_opcheck(case: ConvCase, conv_device: str, generator: torch.Generator) -> None:
    x, weight, bias = case.inputs(generator, conv_device)
    torch.library.opcheck(op, (x, weight, bias, case.relu))
    torch.library.opcheck(op, (x, weight.clone().requires_grad_(), bias.clone().requires_grad_(), case.relu))
    y = reference(x, weight, bias, case.relu)
    for needed in ([True, True, True], [False, True, False]):
        torch.library.opcheck(backward_op, (torch.ones_like(y), x, weight, y if case.relu else None, needed))


@pytest.mark.slow
@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
def test_compiles(autocast: bool, conv_device: str, generator: torch.Generator) -> None:
    x, weight, bias = (t.requires_grad_() for t in IMAGE.inputs(generator, conv_device))

    def run(function):
        with torch.autocast(conv_device, torch.bfloat16, enabled=autocast):
            y = function(x, weight, bias, True)
        return y, *torch.autograd.grad(y.float().square().sum(), (x, weight, bias))

    compiled = torch.compile(op, fullgraph=True, backend="aot_eager")
    for result, wanted in zip(run(compiled), run(op), strict=True):
        assert result.dtype == wanted.dtype and torch.equal(result, wanted)
    public = torch.compile(context_conv, fullgraph=True, backend="aot_eager")
    assert run(public)[0].dtype == run(op)[0].dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_autocast_follows_conv2d(dtype: torch.dtype, conv_device: str, generator: torch.Generator) -> None:
    """The first layer of a step has float32 pixels and weights, the next 16-bit maps; gradients are the leaves'."""
    x, weight, bias = IMAGE.inputs(generator, conv_device)
    weight.requires_grad_()
    with torch.autocast(conv_device, dtype):
        y = op(x, weight, bias, True)
        again = op(x.to(dtype), weight, bias, True)
        assert y.dtype == dtype == context_conv(x.to(dtype), weight, bias, True).dtype
    assert torch.equal(y, again)
    y.float().sum().backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float32
    assert relative_error(y, exact.conv(x, weight, bias, True)) <= 2 * bound(dtype, conv_device)
    with torch.autocast(conv_device, dtype), torch.no_grad():
        assert op(*(t.double().cpu() for t in (x, weight, bias)), True).dtype == torch.float64


@pytest.mark.parametrize("products", [False, True], ids=["without products", "with products"])
@pytest.mark.parametrize(("kernel", "side"), [(1, 12), (11, 46)], ids=["direct", "spectral"])
def test_sixteen_bits_on_a_cpu_take_the_fastest_form(
    kernel: int, side: int, products: bool, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    """In the frequency domain, or without products of bfloat16, numbers are widened; PyTorch does the rest."""
    if missing := backend.native_missing("cpu"):
        pytest.skip(missing)
    rounded: list[bool] = []

    def noting(function):
        def noted(x, *given, **named):
            rounded.append(torch.equal(x, x.bfloat16().float()))
            return function(x, *given, **named)

        return noted

    monkeypatch.setattr(ops, "_has_products", lambda dtype: products and dtype == torch.bfloat16)
    monkeypatch.setattr(ops, "conv_of_weight", noting(ops.conv_of_weight))
    monkeypatch.setattr(torch.nn.functional, "conv2d", noting(torch.nn.functional.conv2d))
    x = torch.randn(1, 32, side, side, generator=generator)
    weight = torch.randn(32, 32, kernel, kernel, generator=generator).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = context_conv(x, weight, torch.zeros(32), True)
    # PyTorch's convolution casts its arguments itself.
    assert rounded == [not (products and kernel == 1)] and y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float32
    wanted = exact.conv(x.bfloat16().float(), weight.detach().bfloat16().float(), torch.zeros(32), True)
    assert relative_error(y, wanted) <= bound(torch.bfloat16, "cpu")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "mps devices" in str(backend.triton_missing("mps", 0))
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(backend, "_has_triton", False)
    assert backend.triton_missing("cuda", 0) == "Triton is not installed"
    monkeypatch.setattr(backend, "_has_triton", True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (7, 5))
    assert "capability 7.5, and the kernels need 8.0" in str(backend.triton_missing("cuda", 0))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    assert backend.triton_missing("cuda", 0) is None


def test_a_compiled_model_asks_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_has_triton", True)
    asked = torch.compile(lambda x: x + (backend.triton_missing("cuda", 0) is None), fullgraph=True, backend="eager")
    assert asked(torch.zeros(1)) == 1


def test_import_leaves_triton_alone() -> None:
    code = "import torch, sys; before = 'triton' in sys.modules; import cpm_fast, cpm_fast.ops.context_conv; "
    code += "raise SystemExit('triton' in sys.modules and not before)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
