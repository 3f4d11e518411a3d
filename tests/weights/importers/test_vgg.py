"""A trunk from VGG-19: the same features of the same picture, for any input convention of the network."""

import dataclasses

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cpm_fast.config import Conv, NetworkConfig, preset
from cpm_fast.model.cpm import CPM
from cpm_fast.weights.importers.vgg import IMAGENET_MEAN, IMAGENET_STD, init_trunk

# The sixteen convolutions of VGG-19 and, as "pool", the five pools: torchvision's `features`, each followed by ReLU.
PLAN = (64, 64, "pool", 128, 128, "pool", *(256,) * 4, "pool", *(512,) * 4, "pool", *(512,) * 4, "pool")
FAR_FROM_BORDER = 6  # cells: conv4_2 has a receptive field of 84 px


def vgg19_features() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for width in PLAN[: PLAN.index(512) + 4]:
        if width == "pool":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        nn.init.kaiming_normal_(layers[-2].weight)
        channels = width
    return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def features() -> nn.Sequential:
    torch.manual_seed(0)
    return vgg19_features().eval()


@pytest.fixture(scope="module")
def file(features, tmp_path_factory):
    tensors = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save({**tensors, "classifier.0.weight": torch.zeros(2, 2)}, path)
    return path


@pytest.mark.parametrize(
    "changed",
    [{}, {"color": "rgb", "pixel_mean": (1.0, 2.0, 3.0), "pixel_scale": (4.0, 50.0, 60.0)}, {"shared_trunk": False}],
    ids=["as released", "another input", "two trunks"],
)
@torch.no_grad()
def test_the_trunk_sees_what_vgg_sees(features, file, changed):
    config = dataclasses.replace(preset("vgg"), stages=2, refine=(Conv(1, 4),), **changed)
    model = CPM(config).eval()
    filled = init_trunk(model, file)
    trunks = ("trunk1",) if config.shared_trunk else ("trunk1", "trunk2")
    assert len(filled) == 10 * len(trunks) and filled[9] == "trunk1_tail2"

    picture = torch.randint(0, 256, (1, 3, 160, 160)).float()  # RGB
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    wanted = features[:23]((picture / 255 - mean) / std)
    mean, scale = (torch.tensor(values)[:, None, None] for values in (config.pixel_mean, config.pixel_scale))
    seen = {}
    for trunk in trunks:
        model.conv(f"{trunk}_tail2").register_forward_hook(lambda _m, _i, out, trunk=trunk: seen.update({trunk: out}))
    model(((picture.flip(1) if config.color == "bgr" else picture) - mean) / scale)
    inside = slice(FAR_FROM_BORDER, -FAR_FROM_BORDER)
    for trunk in trunks:
        assert seen[trunk].shape == wanted.shape
        torch.testing.assert_close(
            seen[trunk][..., inside, inside], wanted[..., inside, inside], rtol=0, atol=1e-4 * float(wanted.max())
        )


def test_what_stands_behind_stays_as_it_was(file):
    torch.manual_seed(1)
    model = CPM(dataclasses.replace(preset("vgg"), stages=1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    filled = set(init_trunk(model, file))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name.split(".")[1] not in filled), name


def test_from_safetensors(features, file, tmp_path):
    tensors = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    save_file(tensors, tmp_path / "vgg19.safetensors")
    first, second = (CPM(dataclasses.replace(preset("vgg"), stages=1)) for _ in range(2))
    assert init_trunk(first, file) == init_trunk(second, tmp_path / "vgg19.safetensors")
    assert torch.equal(first.conv("trunk1_tail2").weight, second.conv("trunk1_tail2").weight)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (preset("compact"), "must have norm 'none', got 'batch'"),
        (NetworkConfig(stages=1), r"must begin with VGG-19's \[64, 3, 3, 3\], got \[128, 3, 9, 9\]; --preset vgg"),
    ],
    ids=["batch norm", "another trunk"],
)
def test_networks_that_do_not_fit(file, config, message):
    with pytest.raises(ValueError, match=message):
        init_trunk(CPM(config), file)


@pytest.mark.parametrize(
    "tensors",
    [
        {"features.0.weight": torch.zeros(64, 3, 3, 3)},
        {"conv1.weight": torch.zeros(64, 3, 7, 7)},
        {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(3)},
    ],
    ids=["no bias", "another network", "half a bias"],
)
def test_files_of_another_network(tmp_path, tensors):
    torch.save(tensors, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth: must be VGG-19 as torchvision has it.*features.0"):
        init_trunk(CPM(dataclasses.replace(preset("vgg"), stages=1)), tmp_path / "other.pth")
