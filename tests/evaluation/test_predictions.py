"""Handmade files of predictions in every form: read, matched with their samples and scored, or refused by name."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpm_fast import metrics
from cpm_fast.data.formats.lsp import FILE_ORDER, LeedsSports
from cpm_fast.data.image_names import MatchError, Names
from cpm_fast.data.sample import Subset
from cpm_fast.evaluation import Evaluation, PredictedParts, evaluate_parts, evaluate_predictions, read_predictions
from cpm_fast.evaluation.predictions import predicted_subjects, read_truth
from cpm_fast.results.result import Result, Results
from cpm_fast.skeleton import COCO, FLIC, LSP, Skeleton
from support.annotated import FLY, Figures


def score_file(path, dataset, **given) -> Evaluation:
    parts = read_predictions(path, dataset.skeleton, len(dataset), **given)
    return evaluate_parts(parts, read_truth(dataset, progress=False), source=path.name)


def results_of(dataset, names=None) -> Results:
    """Return the truth as results, one image per sample."""
    scores = np.ones((1, len(dataset.skeleton)), np.float32)
    return Results(
        [
            Result(points[None].astype(np.float32), scores, dataset.skeleton, name)
            for points, name in zip(dataset.parts_image, names or dataset.names, strict=True)
        ]
    )


def coco_of(dataset, names=None) -> list[dict]:
    return [
        {
            "image_id": name,
            "category_id": 1,
            "score": 0.5,
            "keypoints": np.insert(points, 2, 1, axis=1).ravel().tolist(),
        }
        for points, name in zip(dataset.parts_image, names or dataset.names, strict=True)
    ]


@pytest.mark.parametrize(("skeleton", "order"), [(LSP, FILE_ORDER), (FLIC, FLIC.names)], ids=["LSP", "FLIC"])
def test_the_release_s_files(tmp_path, skeleton, order):
    """prediction_all [p, 2, K], LSP's own order of joints, the first pixel is 1: the truth scores 100 %."""
    savemat = pytest.importorskip("scipy.io").savemat
    dataset = Figures(30, skeleton)
    values = np.stack([dataset.parts_image[:, skeleton.index(name)] + 1 for name in order])  # [p, K, 2]
    values[0, 3] += 1000
    savemat(tmp_path / "LSP_prediction.mat", {"prediction_all": values.transpose(0, 2, 1)})
    result = score_file(tmp_path / "LSP_prediction.mat", dataset)
    assert result.stages[0].mean == pytest.approx(1 - 1 / (30 * len(order)))
    assert result.stages[0].per_part[skeleton.index(order[0])] == pytest.approx(29 / 30)
    assert np.nanmax(np.delete(result.errors, 3, axis=1)) < 1e-9
    assert "of LSP_prediction.mat, prediction_all [p, 2, K]" in result.table() and "matched by order" in result.source
    # Without that option, pixels are off by one.
    assert score_file(tmp_path / "LSP_prediction.mat", dataset, first_pixel=0).errors[0, 0] == pytest.approx(2**0.5)


@pytest.mark.parametrize("form", ["json", "csv", "npz"])
def test_results_of_ours_in_any_order(tmp_path, form):
    dataset = Figures(5, names=[f"pictures/{i}.png" for i in "abcde"])
    results = results_of(dataset, [f"/data/pictures/{i}.png" for i in "abcde"])
    Results(results[::-1]).save(tmp_path / f"found.{form}")
    result = score_file(tmp_path / f"found.{form}", dataset)
    assert result.stages[0].mean == 1 and np.nanmax(result.errors) < 1e-4
    assert "matched by the names of the images" in result.source


def test_parts_are_matched_by_name_and_some_may_be_missing(tmp_path):
    dataset = Figures(2, LSP)
    some = Skeleton("some", ("right_hip", "left_shoulder", "tail"))
    points = dataset.parts_image[:, [LSP.index("right_hip"), LSP.index("left_shoulder"), 0]]
    Results([Result(points[[i]], np.ones((1, 3)), some, f"figure {i}") for i in (0, 1)]).save(tmp_path / "found.csv")
    result = score_file(tmp_path / "found.csv", dataset)
    assert result.stages[0].mean == 1 and result.names == ("left_shoulder", "right_hip")
    assert len(result.unscored) == 12


def test_coco_s_results(tmp_path):
    dataset = Figures(3, COCO, names=["val/000000000785.jpg", "000000000139.jpg", "12.jpg"])
    entries = coco_of(dataset, [785, 139, 12])[::-1]
    entries[0]["keypoints"][:3] = [0, 0, 0]  # the nose of 12 is not found
    (tmp_path / "keypoints.json").write_text(json.dumps(entries))
    result = score_file(tmp_path / "keypoints.json", dataset)
    assert result.stages[0].mean == 50 / 51 and np.isnan(result.errors[0, 2, 0])
    assert (result.heights == 0.5).all(), "what ranks a subject is its own score"
    for entry, name in zip(entries, dataset.names[::-1], strict=True):
        entry["file_name"] = name.rpartition("/")[2]
    (tmp_path / "keypoints.json").write_text(json.dumps(entries))
    assert score_file(tmp_path / "keypoints.json", dataset).stages[0].mean == 50 / 51


def test_coco_s_numbers_are_the_dataset_s_own_where_it_has_some(tmp_path):
    """The file called 12.jpg is image 785, and 785.jpg is image 12."""
    dataset = Figures(2, COCO, names=["12.jpg", "785.jpg"], more=[{"identity": (785, 1)}, {"identity": (12, 2)}])
    entries = coco_of(dataset, [785, 12])
    (tmp_path / "keypoints.json").write_text(json.dumps(entries))
    assert score_file(tmp_path / "keypoints.json", dataset).stages[0].mean == 1
    named = [{**entry, "file_name": name} for entry, name in zip(entries, dataset.names, strict=True)]
    (tmp_path / "keypoints.json").write_text(json.dumps(named))
    assert score_file(tmp_path / "keypoints.json", dataset).stages[0].mean == 1


def test_our_own_results_in_coco_s_form_come_back(tmp_path):
    dataset = Figures(3, LSP, names=["im0001.jpg", "im0002.jpg", "im0003.jpg"])
    results_of(dataset).save(tmp_path / "found.json", form="coco")
    assert score_file(tmp_path / "found.json", dataset).stages[0].mean == 1


def test_several_subjects_of_an_image_stand_in_the_same_order(tmp_path):
    dataset = Figures(3, names=["a.png", "b.png", "a.png"])
    points = dataset.parts_image[[0, 2]].astype(np.float32)
    both = Result(points, np.ones((2, 14)), LSP, "a.png")
    Results([*results_of(dataset)[1:2], both]).save(tmp_path / "found.json")
    assert score_file(tmp_path / "found.json", dataset).stages[0].mean == 1
    Results([*results_of(dataset)[:2]]).save(tmp_path / "found.json")
    with pytest.raises(MatchError, match="a.png: 2 samples and 1 predictions; which is whose is not known"):
        score_file(tmp_path / "found.json", dataset)


def test_images_that_failed_or_are_empty_are_misses(tmp_path):
    dataset = Figures(4, names=["a.png", "b.png", "c.png", "d.png"])
    nobody = Result(np.empty((0, 14, 2)), np.empty((0, 14)), LSP, "c.png")
    results = Results([*results_of(dataset)[:2], nobody], {"d.png": "torn"})
    results.save(tmp_path / "found.json")
    assert score_file(tmp_path / "found.json", dataset).stages[0].mean == 0.5
    Results(results[:2]).save(tmp_path / "found.json")
    with pytest.raises(MatchError, match=r"2 of 4 samples are not in the file: c.png, d.png"):
        score_file(tmp_path / "found.json", dataset)
    assert score_file(tmp_path / "found.json", Subset(dataset, [1])).stages[0].mean == 1, "others are not looked at"


def test_files_without_names_of_ours_go_by_order(tmp_path):
    dataset = Figures(3)
    results_of(dataset, ["image 0", "image 1", "image 2"]).save(tmp_path / "found.npz")
    assert score_file(tmp_path / "found.npz", dataset).stages[0].mean == 1
    with pytest.raises(MatchError, match=r"must be 2, one per sample of figures, got 3; no image .* named .* --last N"):
        score_file(tmp_path / "found.npz", Subset(dataset, [0, 1]))


def test_unreadable_samples_keep_their_place():
    dataset = Figures(3, broken=(1,))
    parts = PredictedParts(dataset.parts_image[None], np.ones((1, 3, 14)), LSP.names, "")
    with pytest.warns(UserWarning, match="sample 1 left out"):
        result = evaluate_parts(parts, read_truth(dataset))
    assert result.stages[0].mean == 1 and result.indices.tolist() == [0, 2]


def test_subjects_for_average_precision():
    dataset = Figures(2, COCO, names=["a/1.jpg", "a/2.jpg"], more=[{"identity": (7, 70)}, {"identity": (8, 80)}])
    points = np.concatenate([dataset.parts_image, dataset.parts_image])[None]
    heights = np.repeat([[0.1, 0.2, 0.3, np.nan]], 17, axis=0).T[None]
    parts = PredictedParts(points, heights, COCO.names, "", ("1.jpg", "2.jpg", "1.jpg", "9.jpg"))
    images = {"7": "a/1.jpg", "8": "a/2.jpg"}
    found = predicted_subjects(parts, images, COCO)
    assert (found.images, found.values.round(9).tolist()) == (["7", "8", "7"], [0.1, 0.2, 0.3])
    with pytest.raises(MatchError, match="none is the dataset's"):
        predicted_subjects(PredictedParts(points, heights, COCO.names, ""), images, COCO)


def test_names_of_images():
    names = Names(["lsp/images/im1.jpg", "other/im1.jpg", "im2.jpg", "C:\\pictures\\im3.jpg", "785", "a/5.png"])
    assert names.find("images/im1.jpg") == "lsp/images/im1.jpg"
    assert names.find("/data/lsp/im2.jpg") == "im2.jpg" and names.find("im3.jpg") == "C:\\pictures\\im3.jpg"
    assert names.find("val/000785.jpg") == "785" and names.find("im4.jpg") is None
    assert names.find("b/5.png") is None and names.find("a/5.jpg") is None
    with pytest.raises(MatchError, match=r"im1.jpg may be lsp/images/im1.jpg or other/im1.jpg: give more"):
        names.find("im1.jpg")


DAMAGED_FILES = {
    "suffix": ("found.txt", b"", r"found.txt: predictions must be a file .mat, .json, .csv, .npz"),
    "half": ("found.json", b"{", "found.json: not predictions that can be read"),
    "no entry": ("found.json", b"[]", "it holds no entry"),
    "a number": ("found.json", b"[1]", "found.json: not predictions"),
    "no list": ("found.json", b"3", "found.json: not predictions"),
    "no points": ("found.json", b'[{"image_id": 1}]', "KeyError.*keypoints"),
    "two numbers": (
        "found.json",
        b'[{"image_id": 1, "keypoints": [1, 2]}]',
        "keypoints must be x, y, score of every part",
    ),
    "one part": ("found.json", b'[{"image_id": 1, "keypoints": [1, 2, 3]}]', "its 1 parts have no names"),
    "deep": ("found.json", b"[" * 100_000, "found.json: not predictions"),
    "other columns": ("found.csv", b"a,b\n1,2\n", "must have the columns image and <part>_x"),
    "no row": ("found.csv", b"image,neck_x,neck_y\n", "it holds no image"),
    "a word": ("found.csv", b"image,neck_x,neck_y\na.png,far,2\n", "could not convert string to float"),
    "empty npz": ("found.npz", b"", "not a NumPy archive"),
    "empty mat": ("found.mat", b"", "not a MATLAB file"),
}


@pytest.mark.parametrize(("name", "content", "message"), DAMAGED_FILES.values(), ids=DAMAGED_FILES)
def test_damage_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((ValueError, RuntimeError), match=message):
        read_predictions(tmp_path / name, LSP, 5)


def test_other_rejections(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.npz: no such file"):
        read_predictions(tmp_path / "none.npz", LSP, 5)
    (tmp_path / "found.json").write_text(json.dumps(coco_of(Figures(2, COCO))))
    with pytest.raises(ValueError, match="it has 17 parts, 3 were named"):
        read_predictions(tmp_path / "found.json", COCO, 2, order=FLY.names)
    parts = PredictedParts(np.zeros((1, 2, 3, 2)), np.zeros((1, 2, 3)), FLY.names, "")
    with pytest.raises(ValueError, match=r"figures has the parts \['head_top', .*the file \['head', 'left_wing'"):
        evaluate_parts(parts, read_truth(Figures(2)))


def valid_files() -> dict[str, bytes]:
    dataset = Figures(2, COCO, names=["1.jpg", "2.jpg"])
    archive = io.BytesIO()
    np.savez(archive, keypoints=dataset.parts_image, names=np.array(COCO.names), images=np.array(dataset.names))
    table = "image,nose_x,nose_y\n1.jpg,1,2\n2.jpg,3,4\n"
    return {"a.npz": archive.getvalue(), "b.json": json.dumps(coco_of(dataset)).encode(), "c.csv": table.encode()}


VALID = valid_files()


@settings(max_examples=120)
@given(data=st.data())
def test_damaged_files_are_read_or_refused(tmp_path_factory, data):
    """Random bytes, truncations and flipped bits: predictions, or an error that names the file."""
    name = data.draw(st.sampled_from([*VALID, "d.mat"]))
    content = bytearray(VALID.get(name) or data.draw(st.binary(max_size=300)))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    for bit in data.draw(st.lists(st.integers(0, max(8 * len(content) - 1, 0)), max_size=3)):
        if content:
            content[bit // 8] ^= 1 << bit % 8
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(content)
    try:
        found = read_predictions(path, COCO, 2)
    except ValueError as error:
        assert name in str(error)
        return
    assert found.points.shape == (*found.heights.shape, 2) and found.points.shape[2] == len(found.names)
    assert found.images is None or len(found.images) == found.points.shape[1]


def test_evaluate_predictions():
    dataset = Figures(5, broken=(3,), without=(0,))
    predicted = dataset.parts_image.copy()
    predicted[2] += 50
    predicted[4, 1] = np.nan
    read = [0, 1, 2, 4]
    with pytest.warns(UserWarning, match="sample 3 left out"):
        result = evaluate_predictions(predicted, dataset)
    length = metrics.lsp_reference_length(dataset.parts_image[read])
    expected = metrics.pck(predicted[read], dataset.parts_image[read], length)
    assert result.stages[0].mean == expected.mean == (14 + 0 + 13) / 42
    assert (result.stages[0].left_out, result.unreadable) == (1, 1)
    assert "predictions as they were given" in result.table()
    stages = np.stack([predicted, dataset.parts_image])
    with pytest.warns(UserWarning):
        assert [score.mean for score in evaluate_predictions(stages, dataset).stages] == [expected.mean, 1]


@pytest.mark.parametrize("shape", [(4, 14, 2), (5, 13, 2), (5, 14, 3), (14, 2), (0, 5, 14, 2)], ids=str)
def test_evaluate_predictions_rejects(shape):
    with pytest.raises(ValueError, match=r"predicted must be \[5, 14, 2\] or \[T, ...\] of that, got"):
        evaluate_predictions(np.zeros(shape), Figures(5))


@pytest.mark.data
def test_real_annotation_in_the_release_s_layout(data_dir, tmp_path):
    """LSP's own joints as prediction_all are the truth, to the last pixel."""
    scipy_io = pytest.importorskip("scipy.io")
    joints = scipy_io.loadmat(data_dir / "lsp" / "joints.mat")["joints"]  # [3, 14, 1000]
    scipy_io.savemat(tmp_path / "found.mat", {"prediction_all": joints[:2, :, -20:].transpose(1, 0, 2)})
    dataset = Subset(LeedsSports(data_dir / "lsp"), range(980, 1000))
    result = score_file(tmp_path / "found.mat", dataset)
    assert result.stages[0].mean == 1 and result.errors.max() < 1e-9 and result.stages[0].counts.sum() == 280
