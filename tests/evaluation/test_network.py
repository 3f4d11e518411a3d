"""Evaluation with networks that return the truth, so that every number is known in advance."""

import json
import warnings

import numpy as np
import pytest
import torch

import cpm_fast.inference
from cpm_fast.config import NetworkConfig
from cpm_fast.data.formats.lsp import LeedsSports
from cpm_fast.data.sample import Sample, Subset
from cpm_fast.evaluation import LSP_PYRAMID, Rule, evaluate, evaluate_predictions
from cpm_fast.model.cpm import CPM
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP, MPII, Skeleton
from support.annotated import FLY, SMALL, Figures, Knowing


def own(index):
    return Roi((45, 60), 110)


def lsp_test(index):
    return Roi.lsp_test(120, 90)


@pytest.mark.parametrize("flip", [False, True], ids=["plain", "flip"])
@pytest.mark.parametrize("batch", [1, 3, 16], ids="batch {}".format)
@pytest.mark.parametrize(
    ("protocol", "pyramid"), [("crop", None), ("crop", (0.8, 1.0, 1.1)), ("lsp", None), ("lsp", (1.0,))]
)
def test_a_network_that_knows_the_truth_is_right(protocol, pyramid, batch, flip):
    dataset = Figures(4)
    factors = pyramid or (LSP_PYRAMID if protocol == "lsp" else (1.0,))
    model = Knowing(dataset, own if protocol == "crop" else lsp_test, factors, flip)
    result = evaluate(model, dataset, protocol=protocol, pyramid=pyramid, flip=flip, batch=batch, progress=False)
    assert result.stages[1].mean == 1
    assert np.abs(result.predictions[1] - dataset.parts_image).max() < 2
    assert result.stages[0].mean < 0.2
    assert result.areas[0] < result.areas[1]
    assert (result.protocol, result.pyramid, result.names) == (protocol, factors, LSP.names)
    assert model.seen == 4 * len(factors) * (2 if flip else 1)


def test_predictions_are_those_of_infer():
    dataset = Figures(3)
    torch.manual_seed(0)
    model = CPM(NetworkConfig(**SMALL)).eval()
    result = evaluate(model, dataset, pyramid=(0.9, 1.1), flip=True, batch=2)
    inferred = cpm_fast.inference.infer(
        list(dataset.images), model=model, rois=[own(0)] * 3, pyramid=(0.9, 1.1), flip=True
    )
    for index in range(3):
        np.testing.assert_allclose(inferred[index].keypoints[0], result.predictions[-1, index], atol=0.05)
        np.testing.assert_allclose(inferred[index].scores[0], result.heights[-1, index], atol=1e-4)


def test_counts_what_is_left_out_and_what_is_unreadable():
    dataset = Figures(6, broken=(1,), without=(2, 4))
    with pytest.warns(UserWarning, match="figures: sample 1 left out: figure 1 is torn"):
        result = evaluate(Knowing(dataset, own), dataset)
    assert result.unreadable == 1
    assert result.indices.tolist() == [0, 2, 3, 4, 5]
    assert result.samples == ("figure 0", "figure 2", "figure 3", "figure 4", "figure 5")
    assert result.predictions.shape == (2, 5, 14, 2)
    last = result.stages[-1]
    assert (last.samples, last.left_out, last.mean) == (3, 2, 1)
    table = result.table()
    assert "left out: 2 of 5 without left_shoulder or right_hip" in table
    assert "unreadable: 1 of 6" in table
    assert "counted: 3 samples, 42 labeled parts" in table
    assert "PCK@0.2 of figures, percent; error over |left_shoulder - right_hip| of the truth" in table
    assert "the truth gives center and scale" in table


def test_table_has_one_row_a_stage_and_one_column_a_part():
    dataset = Figures(3)
    lines = evaluate(Knowing(dataset, own), dataset).table().splitlines()
    sides = "shoulder elbow wrist shoulder elbow wrist hip knee ankle hip knee ankle"
    assert " ".join(lines[2].split()) == f"mean AUC top neck {sides}"
    assert lines[3].startswith("stage 1")
    assert lines[4].split()[:3] == ["stage", "2", "100.0"]
    assert all(len(line) <= 120 for line in lines)


def test_wide_tables_are_wrapped():
    many = Skeleton("many", tuple(f"part_{i}" for i in range(40)))
    dataset = Figures(2, many)
    lines = evaluate(Knowing(dataset, own, skeleton=many), dataset).table().splitlines()
    assert sum(line.startswith("stage 2") for line in lines) == 3
    assert all(len(line) <= 120 for line in lines)


def test_written_forms(tmp_path):
    dataset = Figures(3)
    dataset.parts_image[:, LSP.index("neck")] = np.nan  # a part without any truth
    result = evaluate(Knowing(dataset, own), dataset)
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert values["stages"][1]["mean"] == 1
    assert values["stages"][1]["per_part"][LSP.index("neck")] is None
    assert len(values["stages"][0]["curve"]) == len(values["curve_thresholds"]) == 21
    assert values["names"] == list(LSP.names)
    assert result.curves().shape == (2, 21)
    result.save_curve(tmp_path / "pck.png")
    assert (tmp_path / "pck.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_torso_the_box_of_the_parts_is_the_reference():
    dataset = Figures(4, FLY)
    dataset.parts_image[3] = np.nan
    dataset.parts_image[3, 0] = 50
    result = evaluate(Knowing(dataset, own, skeleton=FLY), dataset)
    assert result.reference_length[:3] == pytest.approx(np.ptp(dataset.parts_image[:3], axis=1).max(axis=1))
    assert result.stages[-1].left_out == 1
    assert "the longer side of the box about the labeled parts" in result.table()
    assert "left out: 1 of 4 without two distinct labeled parts" in result.table()


def test_parts_are_matched_by_name():
    dataset = Figures(3, MPII)
    result = evaluate(Knowing(dataset, own), dataset)
    assert result.unscored == ("pelvis", "thorax")
    assert result.names == tuple(name for name in MPII.names if name not in result.unscored)
    assert result.stages[-1].mean == 1
    assert "not scored, the network has no such part: pelvis, thorax" in result.table()


def test_unlabeled_coordinates_do_not_count():
    dataset = Figures(2)

    class Doubtful(Figures):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            labeled = sample.labeled.copy()
            labeled[LSP.index("neck")] = False  # with coordinates all the same
            return Sample(sample.image, sample.parts_image, labeled, sample.roi, sample.name)

    result = evaluate(Knowing(dataset, own), Doubtful(2))
    assert result.stages[-1].counts[LSP.index("neck")] == 0
    assert np.isnan(result.truth[:, LSP.index("neck")]).all()


def test_leaves_the_model_as_it_was():
    model = CPM(NetworkConfig(**(SMALL | {"norm": "batch"}))).train()
    model.convs["stage1_conv1"].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, Figures(2))
    assert model.training
    assert not model.convs["stage1_conv1"].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"protocol": "mpii"}, ValueError, "protocol must be 'crop' or 'lsp', got 'mpii'"),
        ({"pyramid": ()}, ValueError, r"pyramid must be one or more positive numbers .*, got \[\]"),
        ({"pyramid": (1.0, 0.0)}, ValueError, "pyramid must be one or more positive numbers"),
        ({"batch": 0}, ValueError, "batch must be a positive whole number, at most 65536, got 0"),
        ({"rule": Rule("pckh")}, ValueError, "reference 'head' needs head lengths"),
        ({"device": "meta"}, RuntimeError, "device must be cpu, where the model is, got meta"),
    ],
)
def test_rejects(options, error, message):
    with pytest.raises(error, match=message):
        evaluate(CPM(NetworkConfig(**SMALL)), Figures(1), **options)


def test_rejects_what_gives_no_number():
    model = CPM(NetworkConfig(**SMALL))
    with pytest.raises(ValueError, match="figures: shares no part with the network"):
        evaluate(model, Figures(1, FLY))
    with pytest.raises(ValueError, match="figures: none of its 0 samples could be read$"):
        evaluate(model, Figures(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="none of its 2 samples could be read; the first: figure 0 is torn"):
            evaluate(model, Figures(2, broken=(0, 1)))


@pytest.mark.data
def test_on_real_pictures(data_dir):
    dataset = Subset(LeedsSports(data_dir / "lspet"), range(9997, 10000))
    result = evaluate(CPM(NetworkConfig(**SMALL)), dataset)
    assert result.predictions.shape == (2, 3, 14, 2)
    assert np.isfinite(result.predictions).all()
    truth = evaluate_predictions(dataset.dataset.parts_image[9997:], dataset)
    assert truth.stages[0].mean == 1
