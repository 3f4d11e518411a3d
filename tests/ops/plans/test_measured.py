"""A measured plan takes precedence over predictions, fits memory, and is refused by name if it is invalid."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from cpm_fast.commands import doctor
from cpm_fast.kernels import plans, spectral_plans
from cpm_fast.ops.plans import measured
from cpm_fast.ops.plans.cpu import ConvShape
from cpm_fast.ops.plans.cuda import CudaPlan, choose_cuda_tile, prediction_source, spectra_bytes
from cpm_fast.ops.plans.measured import MeasuredPlan, measured_plan, read_plan

SHAPE = ConvShape(2, 128, 128, 9, (40, 48))
ENTRY = {
    "images": 2,
    "inputs": 128,
    "outputs": 128,
    "kernel": 9,
    "size": [40, 48],
    "mode": "tf32",
    "training": False,
    "milliseconds": {"direct": 3.0, "64": 1.0, "16": 2.0},
}
DIRECT = {"for": ["direct", "fp16", 3840, 128, 128, 9], "block": [64, 32, 64, 4, 3]}
PRODUCT = {"for": ["product", "tf32x3", 77, 0, 128, 0], "block": [32, 64, 16, 4, 2]}
PLAN = {
    "format": "cpm_fast cuda plan",
    "version": 1,
    "rehearsal": False,
    "chip": "NVIDIA H100 80GB HBM3",
    "made": {},
    "convolutions": [ENTRY],
    "blocks": [DIRECT, PRODUCT],
}


@pytest.fixture(autouse=True)
def forgotten():
    yield
    measured._plan.cache_clear()
    measured._chip.cache_clear()
    plans.use_measured_blocks({})


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a plan, with changes, and name it in the variable."""

    def write(**changes: object) -> Path:
        path = tmp_path / "plan.json"
        path.write_text(json.dumps({**PLAN, **changes}))
        monkeypatch.setenv(measured.VARIABLE, str(path))
        measured._plan.cache_clear()
        return path

    return write


def test_measurements_go_before_predictions(named, monkeypatch) -> None:
    monkeypatch.delenv(measured.VARIABLE, raising=False)
    predicted, milliseconds = choose_cuda_tile(SHAPE, "tf32"), CudaPlan("tf32").milliseconds(SHAPE, None)
    assert measured_plan() == MeasuredPlan() and "not measured" in prediction_source()
    path = named()
    assert predicted != 64 and choose_cuda_tile(SHAPE, "tf32") == 64 == CudaPlan("tf32").tile(SHAPE)
    assert CudaPlan("tf32").milliseconds(SHAPE, None) == 3.0 != milliseconds
    assert CudaPlan("tf32").milliseconds(SHAPE, 64) == 1.0
    assert "NVIDIA H100 80GB HBM3" in prediction_source() and str(path) in prediction_source()
    assert choose_cuda_tile(SHAPE, "bf16") == choose_cuda_tile(SHAPE, "bf16"), "of other modes as before"
    named(convolutions=[{**ENTRY, "milliseconds": {"direct": 0.5, "64": 1.0}}])
    assert choose_cuda_tile(SHAPE, "tf32") is None


def test_memory_holds_and_training_is_another_measurement(named) -> None:
    named()
    most = spectra_bytes(SHAPE, 16, "tf32")
    assert choose_cuda_tile(SHAPE, "tf32", most_bytes=most) == 16
    assert choose_cuda_tile(SHAPE, "tf32", most_bytes=most - 1) is None
    trained = {**ENTRY, "training": True, "milliseconds": {"direct": 9.0, "54": 8.0}}
    named(convolutions=[ENTRY, trained])
    assert choose_cuda_tile(SHAPE, "tf32", training=True) == 54
    assert choose_cuda_tile(SHAPE, "tf32") == 64


def test_measured_blocks_are_taken(named) -> None:
    kind = spectral_plans.arithmetic(plans_dtype(), plans_dtype(), "tf32x3")
    before = plans.forward_tile(3840, 128, 128, 9, "bf16", 90), spectral_plans.product_tile(77, 128, kind, 90)
    named()
    measured_plan()
    after = plans.forward_tile(3840, 128, 128, 9, "bf16", 90), spectral_plans.product_tile(77, 128, kind, 90)
    assert after == (plans.Tile(64, 32, 64, 4, 3), plans.Tile(32, 64, 16, 4, 2)) and before != after
    assert plans.forward_tile(3841, 128, 128, 9, "bf16", 90) == plans.forward_tile(3841, 128, 128, 9, "fp16", 90)


def plans_dtype():
    import torch

    return torch.float32


def test_the_package_s_file_of_the_chip_is_found(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv(measured.VARIABLE, raising=False)
    monkeypatch.setattr(measured, "FOLDER", tmp_path)
    monkeypatch.setattr(measured, "_chip", lambda: "NVIDIA H100 80GB HBM3")
    assert measured_plan().origin == ""
    path = tmp_path / "nvidia-h100-80gb-hbm3.json"
    path.write_text(json.dumps(PLAN))
    measured._plan.cache_clear()
    assert measured_plan().origin == str(path) and choose_cuda_tile(SHAPE, "tf32") == 64


def test_files_that_come_with_the_package_are_right() -> None:
    for path in sorted(measured.FOLDER.glob("*.json")):
        assert measured.file_of(read_plan(path).chip) == path


def changed(*keys: object, to: object) -> dict:
    values = copy.deepcopy(PLAN)
    inner: object = values
    for key in keys[:-1]:
        inner = inner[key]  # type: ignore[index]
    inner[keys[-1]] = to  # type: ignore[index]
    return values


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "must have format"),
        (changed("version", to=2), "must have format"),
        (changed("rehearsal", to=True), "is of a rehearsal"),
        (changed("chip", to=""), "chip must be a name"),
        (changed("convolutions", to={}), "convolutions must be a list, got dict"),
        (changed("convolutions", 0, to=7), r"convolutions\[0\]"),
        (changed("convolutions", 0, "mode", to="fp8"), r"convolutions\[0\] mode must be one of"),
        (changed("convolutions", 0, "kernel", to=4), "kernel must be odd, got 4"),
        (changed("convolutions", 0, "kernel", to=True), "kernel must be a whole number"),
        (changed("convolutions", 0, "size", to=[40]), r"size must be \[height, width\]"),
        (changed("convolutions", 0, "size", to=[40, -1]), "size must be a whole number from 1"),
        (changed("convolutions", 0, "training", to=1), "training must be true or false"),
        (changed("convolutions", 0, "milliseconds", to={"direct": 1.0, "17": 1.0}), "got '17'"),
        (changed("convolutions", 0, "milliseconds", to={"direct": 0}), "milliseconds of direct must be above 0"),
        (changed("convolutions", 0, "milliseconds", to={"64": 1.0}), "milliseconds must have 'direct'"),
        (changed("blocks", 0, "block", to=[64, 32, 64, 4]), r"blocks\[0\] block must be"),
        (changed("blocks", 0, "block", to=[48, 32, 64, 4, 3]), "pixels must be a power of two, got 48"),
        (changed("blocks", 0, "block", to=[64, 32, 64, 64, 3]), "warps must be a whole number from 1 to 32, got 64"),
        (changed("blocks", 0, "for", to=["inverse", "fp16", 1, 1, 1, 1]), "for must be"),
        (changed("blocks", 0, to={"for": DIRECT["for"]}), "has no 'block'"),
    ],
    ids=str,
)
def test_rejects(values: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=said) as error:
        read_plan(path)
    assert str(path) in str(error.value) and measured.VARIABLE in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00"], ids=["empty", "broken", "deep", "binary"])
def test_rejects_what_is_no_json(text: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="plan.json"):
        read_plan(path)


def test_a_missing_file_is_named_where_it_is_used_and_by_doctor(monkeypatch) -> None:
    monkeypatch.setenv(measured.VARIABLE, "/no/such/plan.json")
    with pytest.raises(ValueError, match="/no/such/plan.json"):
        choose_cuda_tile(SHAPE, "tf32")
    row = doctor._cuda_plan()
    assert row.state == "problem" and "/no/such/plan.json" in row.found and measured.VARIABLE in row.advice
