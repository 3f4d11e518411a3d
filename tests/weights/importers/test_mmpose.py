"""mmpose's CPM: checkpoints as it writes them, against its network built in plain PyTorch."""

import io

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cpm_fast.config import mmpose
from cpm_fast.engine import Engine
from cpm_fast.model.files import load_model
from cpm_fast.skeleton import COCO, JHMDB, MPII, Skeleton
from cpm_fast.weights.importers.importing import import_weights
from cpm_fast.weights.importers.mmpose import map_mmpose


class Normalized(nn.Module):
    """mmpose's convolution: without bias, normalized, ReLU; the last of a stage plain, with bias."""

    def __init__(self, channels: int, width: int, kernel: int, last: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=last)
        self.last = last
        if not last:
            self.bn = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) if self.last else F.relu(self.bn(self.conv(x)))


class PlainCPM(nn.Module):
    """mmpose's backbone: two trunks of padded pools, beliefs before features, no center map, no background."""

    def __init__(self, parts: int, stages: int) -> None:
        super().__init__()

        def trunk() -> list[nn.Module]:
            blocks: list[nn.Module] = []
            for channels in (3, 128, 128):
                blocks += [Normalized(channels, 128, 9), nn.MaxPool2d(3, 2, padding=1)]
            return blocks

        head = [
            Normalized(128, 32, 5),
            Normalized(32, 512, 9),
            Normalized(512, 512, 1),
            Normalized(512, parts, 1, True),
        ]
        self.stem = nn.Sequential(*trunk(), *head)
        self.middle = nn.Sequential(*trunk())
        later = range(stages - 1)
        self.middle_conv = nn.ModuleList(nn.Sequential(Normalized(128, 32, 5)) for _ in later)
        self.cpm_stages = nn.ModuleList(
            nn.ModuleDict({"model": nn.Sequential(*(Normalized(width, 128, 11) for width in (32 + parts, 128, 128)))})
            for _ in later
        )
        self.out_convs = nn.ModuleList(
            nn.Sequential(Normalized(128, 128, 1), Normalized(128, parts, 1, True)) for _ in later
        )

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        beliefs, shared = [self.stem(image)], self.middle(image)
        for features, stage, out in zip(self.middle_conv, self.cpm_stages, self.out_convs, strict=True):
            x = torch.cat([beliefs[-1], features(shared)], 1)
            beliefs.append(out(stage["model"](x)))
        return beliefs


def plain(parts: int, stages: int) -> PlainCPM:
    torch.manual_seed(0)
    model = PlainCPM(parts, stages).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(std=0.1)
            module.num_batches_tracked.fill_(7)
    return model


def checkpoint(model: nn.Module) -> dict[str, torch.Tensor]:
    return {f"backbone.{name}": tensor for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("fold_norm", [False, True], ids=["norm kept", "norm folded"])
@torch.no_grad()
def test_the_network_from_its_checkpoint(tmp_path, fold_norm):
    model = plain(16, 2)
    content = {"meta": {"mmcv_version": "1.1", "epoch": 210}, "state_dict": checkpoint(model)}
    torch.save(content, tmp_path / "cpm.pth")
    report = import_weights(tmp_path / "cpm.pth", tmp_path / "cpm.safetensors", fold_norm=fold_norm)
    assert report.ok and report.mapping.unused == [] and len(report.mapping.rows) == 10 + 6
    assert "no center map, no background, cell g at pixel 8 g + 0" in str(report) and "rgb" in str(report)
    found = load_model(tmp_path / "cpm.safetensors")
    assert (found.config.norm, found.config.stages, found.skeleton) == (("batch", "none")[fold_norm], 2, MPII)
    if not fold_norm:
        assert found.state_dict()["convs.stage2_conv4.norm.num_batches_tracked"] == 7
    image = torch.randn(1, 3, 64, 48)
    wanted = model(image)
    for beliefs in (found(image), Engine(found)(image)):
        for a, b in zip(beliefs, wanted, strict=True):
            assert float((a - b).abs().max()) < 1e-5 * float(b.abs().max())


def test_six_stages_have_mmpose_s_number_of_parameters():
    model = PlainCPM(16, 6)
    assert sum(parameter.numel() for parameter in model.parameters()) == 31_225_568
    mapping = map_mmpose(checkpoint(model))
    assert mapping.config == mmpose() and not mapping.problems and not mapping.unused


@pytest.fixture(scope="module")
def small() -> dict[str, torch.Tensor]:
    """Return a network of one stage, so without the trunk of later stages."""
    return {name: tensor for name, tensor in checkpoint(plain(16, 1)).items() if ".middle." not in name}


@pytest.mark.parametrize(
    ("skeleton", "size"), [(MPII, (368, 368)), (COCO, (256, 192)), (JHMDB, (368, 368))], ids=["mpii", "coco", "jhmdb"]
)
def test_skeleton_and_box_by_the_number_of_parts(skeleton, size):
    tensors = checkpoint(PlainCPM(len(skeleton), 1))
    config = map_mmpose(tensors).config
    assert (config.skeleton, config.input_size, config.map_size) == (skeleton, size, (size[0] // 8, size[1] // 8))
    assert map_mmpose(tensors, input_size=(384, 288)).config.input_size == (384, 288)
    with pytest.raises(ValueError, match=f"{len(skeleton)} parts, 'cat' has 1: give a skeleton of as many"):
        map_mmpose(tensors, Skeleton("cat", ("nose",)))


def test_statistics_without_a_count_start_at_none(small):
    tensors = {name: tensor for name, tensor in small.items() if not name.endswith("num_batches_tracked")}
    mapping = map_mmpose(tensors)
    assert not mapping.problems and mapping.tensors["convs.stage1_conv1.norm.num_batches_tracked"] == 0


def test_what_does_not_match_is_in_the_table(tmp_path, small):
    tensors = {**small, "head.final_layer.weight": torch.zeros(1), "backbone.stem.0.conv.weight": torch.zeros(64, 3)}
    del tensors["backbone.stem.7.bn.running_var"]
    torch.save(tensors, tmp_path / "cpm.pth")
    report = import_weights(tmp_path / "cpm.pth", tmp_path / "cpm.safetensors")
    assert not report.ok and not (tmp_path / "cpm.safetensors").exists()
    assert {row.source: row.problem for row in report.mapping.problems} == {
        "stem.0": "stem.0.conv.weight has 64x3",
        "stem.7": "stem.7.bn.running_var is missing",
    }
    assert report.mapping.unused == ["head.final_layer.weight"]
    assert "filled    5 of 7 convolutions" in str(report) and "1 in the file: head.final_layer.weight" in str(report)


@pytest.mark.parametrize(
    ("tensors", "options", "message"),
    [
        (
            {"layer1.weight": torch.zeros(1)},
            {},
            r"cpm.pth: it has no backbone.stem.9.conv.weight .*not a CPM of mmpose",
        ),
        ({"backbone.stem.9.conv.weight": torch.zeros(5)}, {}, "cpm.pth: its network has 5 parts, none were named"),
        ({"a": torch.zeros(1)}, {"preset": "cpm6"}, "preset of a checkpoint must be mmpose, got 'cpm6'"),
        ({"backbone.stem.9.conv.weight": torch.zeros(16)}, {"input_size": (100, 100)}, "cpm.pth: input_size must be"),
    ],
    ids=["another network", "nameless parts", "another preset", "odd box"],
)
def test_rejects(tmp_path, tensors, options, message):
    torch.save(tensors, tmp_path / "cpm.pth")
    with pytest.raises(ValueError, match=message):
        import_weights(tmp_path / "cpm.pth", tmp_path / "cpm.safetensors", **options)


def test_outputs_of_another_form_are_refused(tmp_path):
    with pytest.raises(ValueError, match="output must end in .safetensors, got 'cpm.pth'"):
        import_weights(tmp_path / "none.pth", "cpm.pth")


@settings(max_examples=30)
@given(data=st.data())
def test_damaged_checkpoints_are_reported(tmp_path_factory, data):
    """Flipped bits and truncations of a checkpoint with the right names and wrong shapes: no crash."""
    buffer = io.BytesIO()
    names = ("stem.9.conv.weight", "stem.9.conv.bias", "stem.0.conv.weight", "out_convs.0.1.conv.weight")
    torch.save({f"backbone.{name}": torch.zeros(16, 1) for name in names}, buffer)
    content = bytearray(buffer.getvalue())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    for bit in data.draw(st.lists(st.integers(0, max(8 * len(content) - 1, 0)), max_size=3)):
        if content:
            content[bit // 8] ^= 1 << bit % 8
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "cpm.pth").write_bytes(content)
    try:
        report = import_weights(folder / "cpm.pth", folder / "cpm.safetensors")
    except ValueError as error:
        assert "cpm.pth" in str(error)
    else:
        assert not report.ok
