"""The released networks of pose from Caffe's files, layer by layer, and files that do not match them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cpm_fast.config import NetworkConfig, preset
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import fill, load_model, read_tensors
from cpm_fast.model.layers import network_layers
from cpm_fast.skeleton import COCO, Skeleton
from cpm_fast.weights.importers.caffe_layouts import NAMES, map_caffe
from cpm_fast.weights.importers.importing import import_weights
from support import caffe_file

Blobs = dict[str, list[np.ndarray]]


def random_blobs(config: NetworkConfig, layout: str) -> Blobs:
    """Return weights under Caffe's names that keep activations of one size."""
    generator = torch.Generator().manual_seed(0)
    names = NAMES[layout](config)
    blobs = {}
    for layer in network_layers(config):
        if layer.kind == "conv":
            shape = (layer.channels, layer.in_channels, layer.kernel, layer.kernel)
            spread = (2 / (layer.in_channels * layer.kernel**2)) ** 0.5
            weight = torch.empty(shape).normal_(std=spread, generator=generator)
            bias = torch.empty(layer.channels).normal_(std=0.1, generator=generator)
            blobs[names[layer.name]] = [weight.numpy(), bias.numpy()]
    return blobs


def plain_conv(blobs: Blobs, name: str, x: torch.Tensor, relu: bool = True) -> torch.Tensor:
    weight, bias = (torch.from_numpy(array) for array in blobs[name])
    y = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
    return F.relu(y) if relu else y


def plain_center(size: int) -> torch.Tensor:
    line = torch.exp(-((torch.arange(size) - (size - 1) / 2) ** 2) / (2 * 21.0**2))
    return F.avg_pool2d((line[:, None] * line)[None, None], 9, 8, ceil_mode=True)


def plain_released(blobs: Blobs, image: torch.Tensor, stages: int) -> list[torch.Tensor]:
    """Return the network of the release as its prototxt lists it."""

    def trunk(stage: int) -> torch.Tensor:
        x = image
        for block in (1, 2, 3):
            x = F.max_pool2d(plain_conv(blobs, f"conv{block}_stage{stage}", x), 3, 2, ceil_mode=True)
        return x

    x = plain_conv(blobs, "conv4_stage1", trunk(1))
    x = plain_conv(blobs, "conv6_stage1", plain_conv(blobs, "conv5_stage1", x))
    beliefs = [plain_conv(blobs, "conv7_stage1", x, relu=False)]
    shared, center = trunk(2), plain_center(image.shape[-1])
    for stage in range(2, stages + 1):
        features = plain_conv(blobs, "conv4_stage2" if stage == 2 else f"conv1_stage{stage}", shared)
        x = torch.cat([features, beliefs[-1], center], 1)
        for number in (1, 2, 3, 4):
            x = plain_conv(blobs, f"Mconv{number}_stage{stage}", x)
        beliefs.append(plain_conv(blobs, f"Mconv5_stage{stage}", x, relu=False))
    return beliefs


def plain_vgg(blobs: Blobs, image: torch.Tensor, stages: int) -> list[torch.Tensor]:
    x = image
    for block, count in ((1, 2), (2, 2), (3, 4)):
        for number in range(1, count + 1):
            x = plain_conv(blobs, f"conv{block}_{number}", x)
        x = F.max_pool2d(x, 2, 2)
    for name in ("conv4_1", "conv4_2", *(f"conv4_{number}_CPM" for number in (3, 4, 5, 6, 7))):
        x = plain_conv(blobs, name, x)
    features, center = x, plain_center(image.shape[-1])
    beliefs = [plain_conv(blobs, "conv5_2_CPM", plain_conv(blobs, "conv5_1_CPM", features), relu=False)]
    for stage in range(2, stages + 1):
        x = torch.cat([beliefs[-1], features, center], 1)
        for number in (1, 2, 3, 4, 5, 6):
            x = plain_conv(blobs, f"Mconv{number}_stage{stage}", x)
        beliefs.append(plain_conv(blobs, f"Mconv7_stage{stage}", x, relu=False))
    return beliefs


def assert_same(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert float((a - b).abs().max()) < 1e-5 * float(b.abs().max())


@pytest.fixture(scope="module")
def six_stages() -> Blobs:
    return random_blobs(preset("cpm6"), "released")


@torch.no_grad()
def test_the_six_stage_network_from_its_file(tmp_path, six_stages):
    """The file of 125 MB has all 40 convolutions and gives the beliefs of the network that the prototxt lists."""
    assert len(six_stages) == 40
    (tmp_path / "pose.caffemodel").write_bytes(caffe_file.net(six_stages, first_form=True, legacy=True))
    report = import_weights(tmp_path / "pose.caffemodel", tmp_path / "pose.safetensors")
    (tmp_path / "pose.caffemodel").unlink()
    shown = str(report)
    assert report.ok and report.mapping.config == preset("cpm6") and report.mapping.unused == []
    assert "filled    40 of 40 convolutions" in shown and "31,219,866 parameters" in shown
    assert "stage6_beliefs" in shown and "Mconv5_stage6" in shown and "unused    nothing" in shown
    assert "finite" in report.trial and "[1, 15, 8, 8]" in report.trial
    assert '"source": "pose.caffemodel"' in read_tensors(tmp_path / "pose.safetensors", "network")[1]["about"]
    model = load_model(tmp_path / "pose.safetensors")
    image = torch.rand(1, 3, 64, 64) - 0.5
    assert_same(model(image), plain_released(six_stages, image, 6))


@torch.no_grad()
def test_the_flic_network():
    blobs = random_blobs(preset("flic"), "released")
    mapping = map_caffe(blobs)
    assert mapping.config == preset("flic") and not mapping.problems and not mapping.unused
    model = CPM(mapping.config).eval()
    fill(model, mapping.tensors, "blobs")
    image = torch.rand(1, 3, 64, 64) - 0.5
    assert_same(model(image), plain_released(blobs, image, 4))


@torch.no_grad()
def test_the_vgg_network():
    config = NetworkConfig(**{**vars(preset("vgg")), "stages": 3})
    blobs = random_blobs(config, "released VGG")
    mapping = map_caffe(blobs)
    assert mapping.config == config and not mapping.problems and not mapping.unused
    model = CPM(config).eval()
    fill(model, mapping.tensors, "blobs")
    image = torch.rand(1, 3, 64, 64) - 0.5
    assert_same(model(image), plain_vgg(blobs, image, 3))


def empty_blobs(config: NetworkConfig, layout: str) -> Blobs:
    """Return blobs of the right shapes that take no memory."""
    names = NAMES[layout](config)
    return {
        names[layer.name]: [
            np.broadcast_to(np.float32(0), (layer.channels, layer.in_channels, layer.kernel, layer.kernel)),
            np.broadcast_to(np.float32(0), (1, 1, 1, layer.channels)),
        ]
        for layer in network_layers(config)
        if layer.kind == "conv"
    }


@pytest.mark.parametrize(
    ("name", "layout", "count"),
    [("cpm6", "released", 40), ("flic", "released", 28), ("vgg", "released VGG", 52)],
    ids=["mpii and lsp", "flic", "vgg"],
)
def test_released_networks_are_found_by_their_names(name, layout, count):
    blobs = empty_blobs(preset(name), layout)
    assert len(blobs) == count
    mapping = map_caffe(blobs | {"loss": []})
    assert mapping.config == preset(name) and mapping.unused == ["loss"]
    assert [row.problem for row in mapping.rows] == [""] * count
    assert map_caffe(blobs, name).rows == mapping.rows


def test_other_numbers_of_parts_need_names():
    hand = Skeleton("hand", tuple(f"joint {number}" for number in range(21)))
    blobs = empty_blobs(NetworkConfig(skeleton=hand, stages=3), "released")
    with pytest.raises(ValueError, match="21 parts, none were named: give a skeleton of as many"):
        map_caffe(blobs)
    with pytest.raises(ValueError, match="21 parts, 'coco' has 17"):
        map_caffe(blobs, skeleton=COCO)
    mapping = map_caffe(blobs, skeleton=hand)
    assert mapping.config == NetworkConfig(skeleton=hand, stages=3) and not mapping.problems


def test_what_does_not_match_is_in_the_table(tmp_path):
    few = NetworkConfig(stages=2)
    blobs = empty_blobs(few, "released")
    del blobs["conv2_stage1"]
    blobs["conv1_stage2"] = [np.zeros((128, 4, 9, 9), np.float32), np.zeros(128, np.float32)]
    blobs["conv4_stage1"] = blobs["conv4_stage1"][:1]
    blobs["conv7_stage1"][1] = np.zeros((3, 5), np.float32)
    blobs = {name: [np.ascontiguousarray(array) for array in arrays] for name, arrays in blobs.items()}
    (tmp_path / "net.caffemodel").write_bytes(caffe_file.net(blobs))
    report = import_weights(tmp_path / "net.caffemodel", tmp_path / "net.safetensors")
    assert not report.ok and not (tmp_path / "net.safetensors").exists()
    assert {row.source: row.problem for row in report.mapping.problems} == {
        "conv2_stage1": "missing",
        "conv1_stage2": "has 128x4x9x9",
        "conv4_stage1": "has 1 arrays, not weight and bias",
        "conv7_stage1": "has a bias of 3x5",
    }
    assert "wrote nothing: 4 convolutions do not fit" in str(report) and "conv2_stage1" in str(report)


@pytest.mark.parametrize(
    ("blobs", "options", "message"),
    [
        ({"conv1": []}, {}, "of no network known here"),
        ({"conv1_stage1": []}, {}, "no layer 'conv7_stage1'"),
        ({"conv1_stage1": [], "conv7_stage1": []}, {}, "no layer 'conv7_stage1'"),
        ({"conv1_stage1": [], "conv7_stage1": [np.float32(1).reshape(())]}, {}, "-1 parts"),
        ({"conv1_stage1": []}, {"name": "compact"}, "one of .*'cpm6', 'flic', 'person', 'vgg'.*, got 'compact'"),
    ],
    ids=["other names", "no beliefs", "no arrays", "no axes", "other preset"],
)
def test_map_rejects(blobs, options, message):
    with pytest.raises(ValueError, match=message):
        map_caffe(blobs, **options)


def test_weights_that_are_not_finite_are_not_written(tmp_path, six_stages):
    blobs = {name: arrays for name, arrays in six_stages.items() if "stage" in name and name[-1] in "12"}
    blobs["Mconv5_stage2"] = [blobs["Mconv5_stage2"][0], np.full(15, np.nan, np.float32)]
    (tmp_path / "net.caffemodel").write_bytes(caffe_file.net(blobs))
    with pytest.raises(RuntimeError, match="not finite"):
        import_weights(tmp_path / "net.caffemodel", tmp_path / "net.safetensors")
    assert not (tmp_path / "net.safetensors").exists()
