"""Fine-tuning: layers that are loaded or start anew, and their table; datasets of other skeletons in one run."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from cpm_fast.config import Conv, preset, widened
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.mapped import mapped
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.recipes import RECIPES
from cpm_fast.skeleton import FLIC, MPII, Skeleton
from cpm_fast.training.checkpoint import Progress, save_checkpoint
from cpm_fast.training.loop import train
from cpm_fast.training.optimization import make_optimizer
from cpm_fast.training.start import LOADED, start_from
from support.runs import COMPACT, CONFIGS, DATA, QUIET, RELEASED, weights
from support.stand_ins import VGG_LAYERS

CONFIG = CONFIGS["modern"][1]


@pytest.fixture
def source(tmp_path):
    torch.manual_seed(7)
    model = CPM(COMPACT)
    for buffer in model.buffers():
        if buffer.is_floating_point():
            torch.nn.init.uniform_(buffer, 0.5, 1.5)
    save_model(model, tmp_path / "source.safetensors")
    return tmp_path / "source.safetensors", model.state_dict()


def fates(loaded) -> dict[str, str]:
    return {name: fate for name, _, fate in loaded.layers}


def test_the_same_network_is_loaded_whole(source):
    path, wanted = source
    model = CPM(COMPACT)
    loaded = start_from(model, path)
    assert set(fates(loaded).values()) == {LOADED} and loaded.unused == ()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "skeleton",
    [MPII, FLIC, Skeleton("turned", tuple(reversed(COMPACT.skeleton.names)))],
    ids=["more parts", "fewer parts", "as many in another order"],
)
def test_other_parts_renew_beliefs_and_their_readers(source, skeleton):
    path, wanted = source
    model = CPM(replace(COMPACT, skeleton=skeleton))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loaded = start_from(model, path)
    new = {name: fate for name, fate in fates(loaded).items() if fate != LOADED}
    assert new == {
        "stage1_beliefs": "new: other parts",
        "stage2_conv1": "new: reads beliefs of other parts",
        "stage2_beliefs": "new: other parts",
    }
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, (before if name.split(".")[1] in new else wanted)[name]), name
    table = loaded.table()
    assert "stage2_conv1" in table and "new: reads beliefs of other parts" in table
    lost = sum(tensor.numel() for name, tensor in before.items() if name.split(".")[1] in new)
    total = sum(tensor.numel() for tensor in before.values())
    assert f"{total - lost:,} of {total:,} numbers from {path}" in table


def test_fewer_stages_and_other_kernels_start_anew(source):
    fewer = start_from(CPM(replace(COMPACT, stages=1)), source[0])
    assert any("stage2" in name for name in fewer.unused)
    narrower = start_from(CPM(replace(COMPACT, first=(replace(COMPACT.first[0], channels=7),))), source[0])
    assert fates(narrower)["stage1_conv1"] == "new: [7, 4, 3, 3] here, [8, 4, 3, 3] in the file"
    larger = start_from(CPM(replace(COMPACT, first=(replace(COMPACT.first[0], kernel=5),))), source[0])
    assert fates(larger)["stage1_conv1"] == "new: [8, 4, 5, 5] here, [8, 4, 3, 3] in the file"


@pytest.mark.parametrize("concat", [COMPACT.concat, COMPACT.concat[::-1]], ids=["features first", "features last"])
@pytest.mark.parametrize("factor", [1.0, 2.5])
def test_a_wider_and_longer_network_begins_with_the_same_beliefs(tmp_path, factor, concat):
    torch.manual_seed(5)
    small = CPM(replace(COMPACT, concat=concat)).eval()
    for tensor in small.state_dict().values():
        if tensor.is_floating_point():
            torch.nn.init.uniform_(tensor, 0.1, 0.9)
    save_model(small, tmp_path / "small.safetensors")
    wide = CPM(replace(widened(small.config, factor), stages=4)).eval()
    loaded = start_from(wide, tmp_path / "small.safetensors")
    assert fates(loaded)["stage1_conv1"] == "grown from stage1_conv1 [8, 4, 3, 3]"
    assert fates(loaded)["stage3_conv1"].startswith("grown from stage2_conv1 ") and loaded.unused == ()
    assert fates(loaded)["stage3_beliefs"].startswith("grown from stage2_beliefs ")
    crops = torch.rand(2, 3, *small.config.input_size)
    beliefs, wanted = wide(crops), small(crops)
    for found, exact in zip(beliefs, wanted, strict=False):
        torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-4 * exact.abs().max().item())
    assert wide.conv("stage1_conv1").weight[8:].abs().min() > 0, "new channels read everything"
    wide.train()(crops)[-1].square().sum().backward()
    assert wide.conv("stage1_beliefs").weight.grad[:, 8:].any(), "and are learned from"
    again = CPM(replace(small.config, stages=3)).eval()
    assert fates(start_from(again, tmp_path / "small.safetensors"))["stage3_conv1"] == "as stage2_conv1"
    assert torch.equal(again.conv("stage3_conv1").weight, small.conv("stage2_conv1").weight)


VGG = replace(
    preset("vgg"), stages=2, input_size=(32, 32), tail=preset("vgg").tail[:3], first=(Conv(1, 8),), refine=(Conv(3, 8),)
)


def vgg19(path) -> dict[str, torch.Tensor]:
    """Write the first convolutions of torchvision's file, those that are read and one that is not, and return them."""
    torch.manual_seed(3)
    widths = {place: (outputs, inputs) for place, outputs, inputs in VGG_LAYERS}
    tensors = {
        f"features.{at}.weight": torch.randn(*shape, 3, 3) * (2 / (9 * shape[1])) ** 0.5 for at, shape in widths.items()
    }
    tensors |= {f"features.{at}.bias": 0.1 * torch.randn(shape[0]) for at, shape in widths.items()}
    (torch.save if path.suffix == ".pth" else save_file)(tensors, path)
    return tensors


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_trunk_from_vgg_19(tmp_path, suffix):
    path = tmp_path / f"vgg19{suffix}"
    tensors = vgg19(path)
    model = CPM(VGG)
    loaded = start_from(model, path)
    assert [name for name, fate in fates(loaded).items() if fate == LOADED][-1] == "trunk1_tail2"
    assert list(fates(loaded).values()).count(LOADED) == 10
    assert fates(loaded)["trunk1_tail3"] == fates(loaded)["stage2_conv1"] == "new: not of VGG-19"
    assert set(loaded.unused) == {"features.23.weight", "features.23.bias"}
    assert torch.equal(model.conv("trunk1_tail2").weight, tensors["features.21.weight"])


def test_a_run_from_vgg_19_trains_its_layers_at_the_released_rates(tmp_path):
    tensors = vgg19(tmp_path / "vgg19.pth")
    config = replace(RECIPES["paper-vgg"], batch=2, epochs=1.0)
    model = train(
        VGG, config, DATA, [], tmp_path / "run", start=tmp_path / "vgg19.pth", options=replace(QUIET, stop_after=2)
    )
    assert "new: not of VGG-19" in (tmp_path / "run" / "start.txt").read_text()
    moved = (model.conv("trunk1_tail2").weight - tensors["features.21.weight"]).abs().max()
    assert 0 < moved < 0.01, "the trunk learns, from where it began"
    rates = {
        name: group["lr"]
        for group in make_optimizer(model, config).param_groups
        for name, parameter in model.named_parameters()
        if any(parameter is own for own in group["params"])
    }
    wanted = {"trunk1_tail2": 1, "stage1_conv1": 1, "stage1_beliefs": 1, "stage2_conv1": 4, "stage2_beliefs": 4}
    for layer, factor in wanted.items():
        assert rates[f"convs.{layer}.weight"] == pytest.approx(8e-5 * factor), layer
        assert rates[f"convs.{layer}.bias"] == pytest.approx(2 * 8e-5 * factor), layer


def test_files_of_neither_kind(tmp_path):
    model = CPM(COMPACT)
    torch.save({"conv1.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth: must be VGG-19 as torchvision has it"):
        start_from(model, tmp_path / "other.pth")
    save_file({"conv1.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other.safetensors: must hold the metadata format"):
        start_from(model, tmp_path / "other.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"torn.safetensors: not a .safetensors file"):
        start_from(model, tmp_path / "torn.safetensors")
    with pytest.raises(FileNotFoundError, match=r"none.safetensors"):
        start_from(model, tmp_path / "none.safetensors")


def test_nothing_that_fits(source):
    other = replace(
        RELEASED,
        trunk=tuple((replace(block[0], kernel=5),) for block in RELEASED.trunk),
        features=(replace(RELEASED.features[0], kernel=5),),
        stages=1,
        first=(replace(RELEASED.first[0], kernel=5),),
        skeleton=FLIC,
    )
    with pytest.raises(ValueError, match="source.safetensors: none of its layers fits the network; the first: trunk1"):
        start_from(CPM(other), source[0])


def test_the_checkpoint_of_a_training_is_told(tmp_path, source):
    model = CPM(COMPACT)
    save_checkpoint(tmp_path / "last.safetensors", model, make_optimizer(model, CONFIG), Progress())
    with pytest.raises(ValueError, match="is the checkpoint of a training, which `cpm-fast train --resume"):
        start_from(model, tmp_path / "last.safetensors")


def test_a_run_from_weights_resumes_bit_for_bit_and_leaves_the_table(tmp_path, source):
    network = replace(COMPACT, skeleton=MPII)
    data = [*DATA, mapped(DrawnFigures(3, seed=4), FLIC)]
    config = replace(CONFIG, stage_factors=(1.0, 3.0), trunk_factor=0.1)
    train(network, config, data, [], tmp_path / "whole", options=QUIET, start=source[0])
    assert "new: other parts" in (tmp_path / "whole" / "start.txt").read_text()
    for stop in (0, 3, None):
        train(
            network,
            config,
            data,
            [],
            tmp_path / "run",
            resume=True,
            start=source[0],
            options=replace(QUIET, stop_after=stop),
        )
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "run")[name]), name


def test_frozen_blocks_keep_the_weights_they_start_with(tmp_path, source):
    config = replace(CONFIG, frozen_blocks=1)
    train(COMPACT, config, DATA, [], tmp_path / "whole", options=QUIET, start=source[0])
    for stop in (3, None):
        options = replace(QUIET, stop_after=stop)
        train(COMPACT, config, DATA, [], tmp_path / "run", resume=True, start=source[0], options=options)
    found = weights(tmp_path / "whole")
    for name, tensor in found.items():
        assert torch.equal(tensor, weights(tmp_path / "run")[name]), name
        if tensor.is_floating_point():
            assert torch.equal(tensor, source[1][name]) == ("block1_" in name), name
    # A run that starts anew has nothing to keep.
    train(COMPACT, config, DATA, [], tmp_path / "anew", options=QUIET)
    torch.manual_seed(config.seed)
    begun = CPM(COMPACT).state_dict()
    assert not any(
        torch.equal(weights(tmp_path / "anew")[name], begun[name]) for name in begun if "conv1.weight" in name
    )


def test_blocks_that_start_anew_are_not_frozen(tmp_path, source):
    wide = widened(COMPACT, 2)
    with pytest.raises(ValueError, match="must have the trunk's first layers, which the recipe freezes, got trunk1_bl"):
        train(wide, replace(CONFIG, frozen_blocks=1), DATA, [], tmp_path / "run", options=QUIET, start=source[0])


def test_parts_that_are_lacking_are_not_taught_to_be_absent(tmp_path):
    with pytest.raises(ValueError, match="synthetic: lacks pelvis, thorax, so loss_mode must be 'mask', got 'zero'"):
        train(replace(COMPACT, skeleton=MPII), replace(CONFIG, loss_mode="zero"), DATA, [], tmp_path, options=QUIET)
