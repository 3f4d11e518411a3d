"""Exported networks: results of ONNX Runtime, OpenCV and torch.export against PyTorch."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from cpm_fast.config import Conv, NetworkConfig, preset
from cpm_fast.model.cpm import CPM
from cpm_fast.model.decode import belief_to_parts
from cpm_fast.skeleton import Skeleton
from cpm_fast.weights.exporters import exporting
from cpm_fast.weights.exporters.exporting import export_model

FLY = Skeleton("fly", ("head", "left_wing", "right_wing"), pairs=(("left_wing", "right_wing"),))
FEW = {
    "skeleton": FLY,
    "input_size": (64, 48),
    "stages": 2,
    "trunk": ((Conv(3, 8),),) * 3,
    "features": (Conv(1, 6),),
    "first": (Conv(3, 8),),
    "refine": (Conv(3, 8),),
    "init_std": None,
}
# Both kinds of 3x3 pools, with and without center map, background and normalization.
CONFIGS = {name: replace(preset(name), **FEW) for name in ("cpm6", "mmpose")}
CONFIGS["residual"] = replace(CONFIGS["mmpose"], refine=(Conv(3, 8), Conv(3, 8, add=1), Conv(5, 8, add=2)))


def network(config: NetworkConfig) -> CPM:
    torch.manual_seed(0)
    model = CPM(config)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    for conv in model.convs.values():
        if conv.norm is not None:  # those of residual blocks begin at 0
            torch.nn.init.uniform_(conv.norm.weight, 0.5, 1.5)
    return model.eval()


def random_crops(batch: int) -> torch.Tensor:
    return torch.rand(batch, 3, 64, 48, generator=torch.Generator().manual_seed(batch + 10)) - 0.5


@torch.no_grad()
def expected(model: CPM, crops: torch.Tensor) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Return the last beliefs, and the parts that inference finds in them."""
    beliefs = model(crops)[-1]
    return beliefs, *belief_to_parts(beliefs[:, None], (1.0,), model.config)


@pytest.fixture(scope="module", params=CONFIGS)
def model(request) -> CPM:
    return network(CONFIGS[request.param])


@pytest.fixture(scope="module", params=[False, True], ids=["beliefs", "decoded"])
def decode(request) -> bool:
    return request.param


@pytest.fixture(scope="module")
def onnx_file(model, decode, tmp_path_factory):
    pytest.importorskip("onnxscript", reason='ONNX needs pip install -e ".[export]"')
    pytest.importorskip("onnxruntime", reason='ONNX needs pip install -e ".[export]"')
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    assert export_model(model, path, decode=decode).startswith("equals PyTorch to ")
    return path


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_onnx_runtime_gives_the_same(model, decode, onnx_file, batch):
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    crops = random_crops(batch)
    found = session.run(None, {"crops": crops.numpy()})
    beliefs, parts, scores = expected(model, crops)
    if decode:
        assert [output.name for output in session.get_outputs()] == ["parts_box", "scores"]
        assert np.abs(found[0] - parts).max() < 0.1
        assert np.abs(found[1] - scores).max() < 1e-4
    else:
        assert [output.name for output in session.get_outputs()] == ["beliefs"]
        assert np.abs(found[0] - beliefs.numpy()).max() < 1e-4


def test_onnx_says_what_it_wants(model, onnx_file):
    import onnx

    proto = onnx.load(onnx_file)
    onnx.checker.check_model(proto, full_check=True)
    about = {entry.key: entry.value for entry in proto.metadata_props}
    assert NetworkConfig.from_dict(json.loads(about["network"])) == model.config
    assert about["input"].startswith(model.config.color)
    assert {node.domain for node in proto.graph.node} == {""}, "an operation beyond ONNX's own"


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("decode", [False], ids=["beliefs"], indirect=True)
def test_opencv_runs_the_beliefs(model, decode, onnx_file, batch):
    try:
        runtime = cv2.dnn.readNetFromONNX(str(onnx_file))
    except (cv2.error, AttributeError) as error:
        pytest.skip(f"this OpenCV ({cv2.__version__}) does not read the file: {error}")
    crops = random_crops(batch)
    runtime.setInput(crops.numpy())
    assert np.abs(runtime.forward() - expected(model, crops)[0].numpy()).max() < 1e-4


@pytest.mark.parametrize("decode", [False], ids=["beliefs"], indirect=True)
def test_an_opset_and_half_precision(model, decode, tmp_path):
    onnx = pytest.importorskip("onnx", reason='ONNX needs pip install -e ".[export]"')
    onnxruntime = pytest.importorskip("onnxruntime", reason='ONNX needs pip install -e ".[export]"')
    pytest.importorskip("onnxscript", reason='ONNX needs pip install -e ".[export]"')
    export_model(model, tmp_path / "old.onnx", opset=18)
    assert [entry.version for entry in onnx.load(tmp_path / "old.onnx").opset_import if not entry.domain] == [18]
    export_model(model, tmp_path / "half.onnx", half=True)
    kinds = {
        weight.data_type for weight in onnx.load(tmp_path / "half.onnx").graph.initializer if len(weight.dims) == 4
    }
    assert kinds == {onnx.TensorProto.FLOAT16}
    crops = random_crops(2)
    session = onnxruntime.InferenceSession(tmp_path / "half.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"crops": crops.numpy()})
    beliefs = expected(model, crops)[0].numpy()
    assert found.dtype == np.float32 and np.abs(found - beliefs).max() < 2e-2 * max(1, np.abs(beliefs).max())


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("zero", ["beliefs", "everything", "maps behind a ReLU"])
def test_half_precision_of_maps_that_are_zero(name, zero, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason='ONNX needs pip install -e ".[export]"')
    pytest.importorskip("onnxscript", reason='ONNX needs pip install -e ".[export]"')
    model = network(CONFIGS[name])
    with torch.no_grad():
        for layer, conv in model.convs.items():
            if zero == "everything" or (zero == "beliefs" and layer.endswith("beliefs")):
                conv.weight.zero_()
                conv.bias.zero_()
            elif zero == "maps behind a ReLU" and not layer.endswith("beliefs"):
                conv.bias.fill_(-100)
    found = []
    for half in (False, True):
        path = tmp_path / f"{half}.onnx"
        assert "equals PyTorch" in export_model(model, path, half=half)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        found.append(session.run(None, {"crops": random_crops(2).numpy()})[0])
    full, half = found
    assert np.isfinite(half).all() and np.abs(half - full).max() < 2e-2 * max(1, np.abs(full).max())
    if zero != "maps behind a ReLU":
        assert not half[:, :, 3:-3].any() or zero == "beliefs"


def test_options_of_onnx_are_checked(model, tmp_path):
    for changes, told in (
        ({"half": True, "decode": True}, "must come without decode"),
        ({"opset": 7}, "opset must be from 18 to 23"),
    ):
        with pytest.raises(ValueError, match=told):
            export_model(model, tmp_path / "net.onnx", **changes)
    with pytest.raises(ValueError, match="are for .onnx"):
        export_model(model, tmp_path / "net.pt2", half=True)


def test_peaks_of_a_finder_are_not_decoded(tmp_path):
    finder = CPM(
        replace(preset("finder"), trunk=((Conv(3, 4),),) * 3, tail=(), features=(Conv(1, 4),), input_size=(64, 64))
    )
    for suffix in ("onnx", "pt2"):
        with pytest.raises(ValueError, match="is for networks that locate parts, got a finder"):
            export_model(finder, tmp_path / f"net.{suffix}", decode=True)


def test_torch_export_round_trip(model, decode, tmp_path):
    export_model(model, tmp_path / "net.pt2", decode=decode)
    extra = {"network": ""}
    program = torch.export.load(tmp_path / "net.pt2", extra_files=extra)
    assert NetworkConfig.from_dict(json.loads(extra["network"])) == model.config
    assert "cpm_fast" not in str(program.graph)
    crops = random_crops(4)
    found = program.module()(crops)
    beliefs, parts, scores = expected(model, crops)
    if decode:
        assert np.abs(found[0].numpy() - parts).max() < 0.1 and np.abs(found[1].numpy() - scores).max() < 1e-4
    else:
        torch.testing.assert_close(found, beliefs, rtol=0, atol=1e-5)


def test_beliefs_without_a_peak_are_no_difference(tmp_path):
    """A constant map has its peak at a place that rounding decides."""
    model = network(CONFIGS["mmpose"])
    with torch.no_grad():
        model.conv("stage2_beliefs").weight.zero_()
        model.conv("stage2_beliefs").bias.fill_(0.3)
    assert "key points within 0.1 px" in export_model(model, tmp_path / "net.pt2", decode=True)


@pytest.mark.parametrize("error", [0.2, float("nan")], ids=str)
@pytest.mark.parametrize("decode", [False, True], ids=["beliefs", "decoded"])
def test_an_export_that_differs_is_not_written(tmp_path, monkeypatch, decode, error):
    real = exporting._program

    def damaged(network, about):
        content, run = real(network, about)
        return content, lambda crops: [value + error for value in run(crops)]

    monkeypatch.setattr(exporting, "_program", damaged)
    with pytest.raises(RuntimeError, match="the exported network differs from PyTorch's: by (0.2|inf)"):
        export_model(network(CONFIGS["mmpose"]), tmp_path / "net.pt2", decode=decode)
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "ONNX_PACKAGES", ("numpy", "onnx_of_another_world"))
    with pytest.raises(RuntimeError, match=r"ONNX needs onnx_of_another_world; type: pip install .*\[export\]"):
        export_model(network(CONFIGS["mmpose"]), tmp_path / "net.onnx")


@pytest.mark.parametrize("name", ["net.pt", "net", "net.onnx.gz"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"path must end in .onnx or .pt2"):
        export_model(network(CONFIGS["mmpose"]), tmp_path / name)


def test_the_model_stays_as_it_was(tmp_path):
    model = network(CONFIGS["mmpose"]).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_model(model, tmp_path / "net.pt2")
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
