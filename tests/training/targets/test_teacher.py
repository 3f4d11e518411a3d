"""Soft targets: their mixture, their cells, and a run that learns from them and resumes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.loader import TrainingItems, collate
from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import save_model
from cpm_fast.recipes import AugmentationConfig, TrainingConfig
from cpm_fast.skeleton import FLIC
from cpm_fast.training.loop import train
from cpm_fast.training.targets.loss import make_targets
from cpm_fast.training.targets.teacher import Teacher
from cpm_fast.weights import DRAWN, load
from support.runs import COMPACT, CONFIGS, DATA, QUIET

STILL = AugmentationConfig(1.0, 1.0, 0.0, 0.0, 0.0)


def batch_of(network, count: int = 3):
    items = TrainingItems([DrawnFigures(count, seed=9)], network, STILL, seed=0)
    return collate([items[0, index] for index in range(count)], network)


@pytest.mark.parametrize("side", [192, 256], ids=["same box", "larger box"])
def test_beliefs_stand_on_the_students_map(side):
    """A trained network sees the same figures through another box: its peaks stay where the parts are."""
    model = load(DRAWN, device="cpu")
    student = replace(model.config, input_size=(side, side))
    batch = batch_of(student)
    beliefs = Teacher(model, student, 0.5).beliefs(batch.crops)
    assert beliefs.shape == (3, 15, side // 8, side // 8)
    flat = beliefs[:, :14].flatten(2).argmax(-1)
    peaks = torch.stack([flat % (side // 8), flat // (side // 8)], -1) * 8 + 3.5
    distance = (peaks - batch.parts_box[:, 0]).norm(dim=-1)
    assert distance[batch.drawn[:, 0]].median() < 8


def test_mirrored_crops_give_mirrored_beliefs():
    model = load(DRAWN, device="cpu")
    teacher = Teacher(model, model.config, 0.5)
    crops = batch_of(model.config).crops
    mirrored = teacher.beliefs(crops.flip(2)).flip(3)[:, teacher.mirror]
    torch.testing.assert_close(teacher.beliefs(crops), mirrored, atol=1e-4, rtol=1e-4)


def test_targets_are_mixed_and_unlabeled_parts_are_the_teachers():
    model = load(DRAWN, device="cpu")
    batch = batch_of(model.config)
    batch.known[1, 0, 4] = batch.drawn[1, 0, 4] = False
    targets = make_targets(batch, model.config, 7.0, "mask")
    teacher = Teacher(model, model.config, 0.25)
    soft, beliefs = teacher.softened(targets, batch), teacher.beliefs(batch.crops).clamp(0, 1)
    torch.testing.assert_close(soft.subject[0], 0.75 * targets.subject[0] + 0.25 * beliefs[0])
    torch.testing.assert_close(soft.subject[1, 4], beliefs[1, 4])
    torch.testing.assert_close(soft.subject[1, 14], beliefs[1, 14])
    assert soft.subject_counts[1].tolist() == [1.0] * 4 + [0.25] + [1.0] * 9 + [0.25]
    assert soft.everyone is targets.everyone and soft.everyone_counts is targets.everyone_counts


def test_a_run_with_a_teacher_resumes_bit_for_bit(tmp_path):
    torch.manual_seed(4)
    save_model(CPM(COMPACT), tmp_path / "teacher.safetensors")
    config = replace(CONFIGS["modern"][1], teacher=str(tmp_path / "teacher.safetensors"))
    whole = train(COMPACT, config, DATA, [], tmp_path / "whole", options=QUIET)
    train(COMPACT, config, DATA, [], tmp_path / "cut", options=replace(QUIET, stop_after=2))
    resumed = train(COMPACT, config, DATA, [], tmp_path / "cut", options=QUIET, resume=True)
    alone = train(COMPACT, replace(config, teacher=""), DATA, [], tmp_path / "alone", options=QUIET)
    same = [torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)]
    assert all(same)
    assert not torch.equal(whole.conv("stage2_conv1").weight, alone.conv("stage2_conv1").weight)


def test_other_parts_and_boxes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="teacher must have the parts"):
        Teacher(CPM(COMPACT), replace(COMPACT, skeleton=FLIC), 0.5)
    height, width = COMPACT.input_size
    with pytest.raises(ValueError, match="teacher must have a box of the shape of"):
        Teacher(CPM(COMPACT), replace(COMPACT, input_size=(height, 2 * width)), 0.5)
    config = replace(CONFIGS["modern"][1], teacher="nobody")
    with pytest.raises(FileNotFoundError, match="nobody"):
        train(COMPACT, config, DATA, [], tmp_path / "run", options=QUIET)


@pytest.mark.parametrize(("field", "value"), [("teacher", 3), ("teacher_share", 0.0), ("teacher_share", 1.5)])
def test_ranges(field, value):
    with pytest.raises(ValueError, match=f"{field} must be"):
        TrainingConfig(**{field: value})
