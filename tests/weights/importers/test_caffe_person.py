"""The released network that finds people: its layers one by one, its import, and files that are not it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cpm_fast.cli import main
from cpm_fast.config import CENTER, preset
from cpm_fast.model.files import load_model
from cpm_fast.model.layers import network_layers
from cpm_fast.skeleton import LSP
from cpm_fast.weights.importers.caffe_layouts import map_caffe
from cpm_fast.weights.importers.importing import import_weights
from support import caffe_file

Blobs = dict[str, list[np.ndarray]]
# Name, output and input channels, and kernel of each convolution of the release's prototxt, in its order.
TRUNK = (
    ("conv1_1", 64, 3, 3), ("conv1_2", 64, 64, 3), ("conv2_1", 128, 64, 3), ("conv2_2", 128, 128, 3),
    ("conv3_1", 256, 128, 3), ("conv3_2", 256, 256, 3), ("conv3_3", 256, 256, 3), ("conv3_4", 256, 256, 3),
    ("conv4_1", 512, 256, 3), ("conv4_2", 512, 512, 3), ("conv4_3", 512, 512, 3), ("conv4_4", 512, 512, 3),
    ("conv5_1", 512, 512, 3), ("conv5_2_CPM", 128, 512, 3), ("conv6_1_CPM", 512, 128, 1), ("conv6_2_CPM", 1, 512, 1),
)  # fmt: skip
HEAD = (
    ("Mconv1", 128, 129, 7),
    *((f"Mconv{number}", 128, 128, 7) for number in (2, 3, 4, 5)),
    ("Mconv6", 128, 128, 1),
    ("Mconv7", 1, 128, 1),
)
STAGES = (2, 3, 4)
LAYERS = (*TRUNK, *((f"{name}_stage{stage}", *sides) for stage in STAGES for name, *sides in HEAD))


def person_blobs(random: bool = False, maps: int = 1) -> Blobs:
    """Weights by the prototxt; if they are not random, they take no memory."""
    generator = torch.Generator().manual_seed(0)
    blobs = {}
    for name, out, channels, kernel in LAYERS:
        out = maps if name == "conv6_2_CPM" else out
        shape = (out, channels, kernel, kernel)
        if random:
            spread = (2 / (channels * kernel**2)) ** 0.5
            weight = torch.empty(shape).normal_(std=spread, generator=generator).numpy()
            blobs[name] = [weight, torch.empty(out).normal_(std=0.1, generator=generator).numpy()]
        else:
            blobs[name] = [np.broadcast_to(np.float32(0), shape), np.broadcast_to(np.float32(0), (1, 1, 1, out))]
    return blobs


def plain_person(blobs: Blobs, image: torch.Tensor) -> list[torch.Tensor]:
    """The network as the prototxt lists it: the belief comes first in every concatenation."""

    def conv(name: str, x: torch.Tensor, relu: bool = True) -> torch.Tensor:
        weight, bias = (torch.from_numpy(array) for array in blobs[name])
        y = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
        return F.relu(y) if relu else y

    x = image
    for name, *_ in TRUNK[:14]:
        x = conv(name, x)
        if name in ("conv1_2", "conv2_2", "conv3_4"):
            x = F.max_pool2d(x, 2, 2)
    features = x
    beliefs = [conv("conv6_2_CPM", conv("conv6_1_CPM", features), relu=False)]
    for stage in STAGES:
        x = torch.cat([beliefs[-1], features], 1)
        for name, *_ in HEAD[:-1]:
            x = conv(f"{name}_stage{stage}", x)
        beliefs.append(conv(f"Mconv7_stage{stage}", x, relu=False))
    return beliefs


def test_layers_are_those_of_the_prototxt() -> None:
    config = preset("person")
    assert config.input_size == (376, 656) and config.maps == 1 and config.find_score == 0.5
    assert sum(out * (channels * kernel**2 + 1) for _, out, channels, kernel in LAYERS) == 25_714_372
    mapping = map_caffe(person_blobs() | {"loss": []})
    assert mapping.config == config and mapping.unused == ["loss"] and not mapping.problems
    assert [(row.source, *row.shape[:3]) for row in mapping.rows] == list(LAYERS)
    assert map_caffe(person_blobs(), "person").rows == mapping.rows
    concats = {layer.inputs for layer in network_layers(config) if layer.kind == "concat"}
    assert concats == {(f"stage{stage - 1}_beliefs", "trunk1_tail6") for stage in STAGES}


@torch.no_grad()
def test_the_network_from_its_file(tmp_path) -> None:
    """All 37 convolutions of a 103 MB file, and the beliefs of the network that the prototxt lists."""
    blobs = person_blobs(random=True)
    path = tmp_path / "pose_iter_70000.caffemodel"
    path.write_bytes(caffe_file.net(blobs))
    report = import_weights(path, tmp_path / "person.safetensors")
    path.unlink()
    shown = str(report)
    assert report.ok and "released person: 4 stages, centers of subjects, box (376, 656), 25,714,372" in shown
    assert "filled    37 of 37 convolutions" in shown and "no center map, no background" in shown
    model = load_model(tmp_path / "person.safetensors")
    assert model.config == preset("person") and model.skeleton == CENTER
    image = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(1)) - 0.5
    wanted = plain_person(blobs, image)
    assert len(wanted) == 4
    for found, plain in zip(model(image), wanted, strict=True):
        assert found.shape == plain.shape == (1, 1, 8, 6)
        assert float((found - plain).abs().max()) < 1e-5 * float(plain.abs().max())


def test_files_that_are_not_it() -> None:
    # OpenPose's network of hands has the same names, and 22 maps.
    with pytest.raises(ValueError, match="'conv6_2_CPM' makes 22 maps, the release's person network makes one"):
        map_caffe(person_blobs(maps=22))
    with pytest.raises(ValueError, match="no layer 'conv6_2_CPM', which makes the beliefs of stage 1"):
        map_caffe({name: blob for name, blob in person_blobs().items() if name != "conv6_2_CPM"})
    for name in (None, "person"):
        with pytest.raises(ValueError, match="finds people and has no parts: leave out the skeleton, got 'lsp'"):
            map_caffe(person_blobs(), name, LSP)
    # Told to be the VGG network, or the other way round, it lacks layers.
    assert {row.source for row in map_caffe(person_blobs(), "vgg").problems} >= {"conv4_7_CPM", "conv5_1_CPM"}
    few = {name: blob for name, blob in person_blobs().items() if "stage4" not in name and name != "conv5_1"}
    mapping = map_caffe(few)
    assert mapping.config.stages == 3 and [(row.source, row.problem) for row in mapping.problems] == [
        ("conv5_1", "missing")
    ]


def test_nothing_is_written_for_a_file_that_does_not_fit(tmp_path, capsys) -> None:
    blobs = {name: [np.zeros(1, np.float32)] * 2 for name, *_ in LAYERS}
    blobs["conv6_2_CPM"] = [np.zeros((1, 512, 1, 1), np.float32), np.zeros(1, np.float32)]
    (tmp_path / "net.caffemodel").write_bytes(caffe_file.net(blobs))
    output = tmp_path / "net.safetensors"
    assert main(["import", str(tmp_path / "net.caffemodel"), "-o", str(output)]) == 1
    assert "wrote nothing: 36 convolutions do not fit" in capsys.readouterr().out and not output.exists()
