"""Fine-tuning: what is loaded, what starts anew, and that the table says so; datasets of other skeletons in one run."""

from dataclasses import replace

import pytest
import torch

from cpm_fast.data.mapped import mapped
from cpm_fast.data.synthetic import DrawnFigures
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.skeleton import FLIC, MPII, Skeleton
from cpm_fast.training.loop import train
from cpm_fast.training.start import LOADED, start_from
from runs import COMPACT, CONFIGS, DATA, QUIET, RELEASED, weights

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


@pytest.mark.parametrize("skeleton", [MPII, FLIC, Skeleton("turned", tuple(reversed(COMPACT.skeleton.names)))],
                         ids=["more parts", "fewer parts", "as many in another order"])  # fmt: skip
def test_other_parts_renew_beliefs_and_their_readers(source, skeleton):
    path, wanted = source
    model = CPM(replace(COMPACT, skeleton=skeleton))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    loaded = start_from(model, path)
    new = {name: fate for name, fate in fates(loaded).items() if fate != LOADED}
    assert new == {"stage1_beliefs": "new: other parts", "stage2_conv1": "new: reads beliefs of other parts",
                   "stage2_beliefs": "new: other parts"}  # fmt: skip
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, (before if name.split(".")[1] in new else wanted)[name]), name
    table = loaded.table()
    assert "stage2_conv1" in table and "new: reads beliefs of other parts" in table
    lost = sum(tensor.numel() for name, tensor in before.items() if name.split(".")[1] in new)
    total = sum(tensor.numel() for tensor in before.values())
    assert f"{total - lost:,} of {total:,} numbers from {path}" in table


def test_more_stages_and_other_kernels_start_anew(source):
    loaded = start_from(CPM(replace(COMPACT, stages=3)), source[0])
    assert fates(loaded)["stage3_beliefs"] == "new: not in the file" and loaded.unused == ()
    fewer = start_from(CPM(replace(COMPACT, stages=1)), source[0])
    assert any("stage2" in name for name in fewer.unused)
    wider = start_from(CPM(replace(COMPACT, first=(replace(COMPACT.first[0], channels=9),))), source[0])
    assert fates(wider)["stage1_conv1"].startswith("new: [9, 4, 3, 3] here, [8, 4, 3, 3] in the file")


def test_nothing_that_fits(source):
    other = replace(RELEASED, trunk=tuple((replace(block[0], kernel=5),) for block in RELEASED.trunk),
                    features=(replace(RELEASED.features[0], kernel=5),), stages=1,
                    first=(replace(RELEASED.first[0], kernel=5),), skeleton=FLIC)  # fmt: skip
    with pytest.raises(ValueError, match="source.safetensors: none of its layers fits the network; the first: trunk1"):
        start_from(CPM(other), source[0])


def test_a_run_from_weights_resumes_bit_for_bit_and_leaves_the_table(tmp_path, source):
    network = replace(COMPACT, skeleton=MPII)
    data = [*DATA, mapped(DrawnFigures(3, seed=4), FLIC)]
    config = replace(CONFIG, stage_factors=(1.0, 3.0), trunk_factor=0.1)
    train(network, config, data, [], tmp_path / "whole", options=QUIET, start=source[0])
    assert "new: other parts" in (tmp_path / "whole" / "start.txt").read_text()
    for stop in (0, 3, None):
        train(network, config, data, [], tmp_path / "run", resume=True, start=source[0],
              options=replace(QUIET, stop_after=stop))  # fmt: skip
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "run")[name]), name


def test_parts_that_are_lacking_are_not_taught_to_be_absent(tmp_path):
    with pytest.raises(ValueError, match="synthetic: lacks pelvis, thorax, so loss_mode must be 'mask', got 'zero'"):
        train(replace(COMPACT, skeleton=MPII), replace(CONFIG, loss_mode="zero"), DATA, [], tmp_path, options=QUIET)
