"""Labels are converted from other programs, and to them."""

import json

import cv2
import numpy as np
import pytest

from cpm_fast.cli import BAD_USE, FINE, main
from cpm_fast.data.files import hdf5
from cpm_fast.data.formats.sleap import SleapLabels
from cpm_fast.data.open import open_dataset
from cpm_fast.labeling.convert import import_labels
from cpm_fast.labeling.frames import ExtractedFrame, write_manifest
from cpm_fast.labeling.predictions import FolderPredictions
from cpm_fast.labeling.table import LabeledSubject, LabelTable
from cpm_fast.media.video_out import write_video
from cpm_fast.results import Result, Results
from support.labeling import SKELETON, make_beetles

ONE = LabeledSubject(((1.25, 2.0, 2), (3.0, 4.0, 1), None, (9.0, 9.5, 2)), (0.0, 1.0, 20.0, 30.0))
TWO = LabeledSubject(((50.0, 20.0, 2), (60.0, 30.0, 2), (70.0, 30.0, 2), None))


@pytest.fixture
def labeled(tmp_path):
    """Make a folder with two subjects in one picture, one in another, and one picture without any."""
    folder = make_beetles(tmp_path / "beetles")
    table = LabelTable(folder / "labels.csv", SKELETON)
    table.replace("run-000000.png", [ONE, TWO], "labeled")
    table.replace("run-000003.png", [ONE], "corrected")
    table.replace("run-000004.png", [], "empty")
    table.write()
    return folder


def samples(source):
    dataset = open_dataset(str(source))
    return dataset, [dataset[i] for i in range(len(dataset))]


def test_coco_and_back(labeled, tmp_path):
    assert main(["data", "convert", str(labeled), "--to", "coco", "-o", str(tmp_path / "out" / "beetles.json")]) == FINE
    content = json.loads((tmp_path / "out" / "beetles.json").read_text())
    assert [image["width"] for image in content["images"]] == [160] * 3
    assert content["annotations"][0]["keypoints"][:6] == [1.25, 2, 2, 3, 4, 1]
    assert content["annotations"][0]["bbox"] == [0, 1, 20, 29] and content["categories"][0]["skeleton"][0] == [1, 2]
    assert main(["data", "convert", str(tmp_path / "out" / "beetles.json"), "-o", str(tmp_path / "again")]) == FINE
    table = LabelTable(tmp_path / "again" / "labels.csv", SKELETON)
    subjects = [subject for image in table.rows for subject in table.subjects(image)]
    assert [subject.points for subject in subjects] == [ONE.points, TWO.points, ONE.points]
    assert subjects[0].box == ONE.box
    first, _ = samples(tmp_path / "again" / "labels.csv")
    assert first.skeleton.limbs == SKELETON.limbs and first.skeleton.pairs == SKELETON.pairs


def test_deeplabcut_and_back(labeled, tmp_path):
    frames = [ExtractedFrame(f"run-{i:06d}.png", "../run.mp4", i, 0.0, "kmeans") for i in range(6)]
    write_manifest(labeled, frames)
    out = tmp_path / "dlc"
    assert main(["data", "convert", str(labeled), "--to", "deeplabcut", "--scorer", "me", "-o", str(out)]) == FINE
    place = out / "labeled-data" / "run"
    assert (place / "run-000000.png").is_file()
    head = (place / "CollectedData_me.csv").read_text().splitlines()
    assert head[0].startswith("scorer,,,me") and head[1].startswith("individuals,,,animal1,")
    dataset, found = samples(out)
    assert dataset.skeleton.names == SKELETON.names and len(found) == 3
    assert np.allclose(found[1].parts_image[:3], [point[:2] for point in TWO.points[:3]])
    assert np.isnan(found[1].parts_image[3]).all()
    assert main(["data", "convert", str(out), "-o", str(tmp_path / "again")]) == FINE
    assert len(samples(tmp_path / "again" / "labels.csv")[1]) == 3
    assert main(["data", "convert", str(labeled), "--to", "deeplabcut", "--scorer", "me", "-o", str(out)]) == BAD_USE


def test_deeplabcut_h5_equals_its_csv(labeled, tmp_path):
    pandas = pytest.importorskip("pandas", reason="needs the extra deeplabcut")
    pytest.importorskip("tables", reason="needs the extra deeplabcut")
    main(["data", "convert", str(labeled), "--to", "deeplabcut", "-o", str(tmp_path)])
    place = tmp_path / "labeled-data" / "beetles"
    frame = pandas.read_hdf(place / "CollectedData_cpm_fast.h5")
    assert frame.columns.names == ["scorer", "individuals", "bodyparts", "coords"]
    assert frame.loc[("labeled-data", "beetles", "run-000000.png"), ("cpm_fast", "animal2", "head", "x")] == 50
    (place / "CollectedData_cpm_fast.csv").unlink()
    _, found = samples(tmp_path)
    assert len(found) == 3 and np.allclose(found[1].parts_image[0], [50, 20])


def test_results_become_a_table_with_likelihood(tmp_path, capsys):
    points = np.arange(16, dtype=np.float32).reshape(2, 1, 4, 2)
    points[1, 0, 3] = np.nan
    scores = np.array([[[0.5, 0.25, 1.125, 0.75]], [[0.5, 0.25, 1, np.nan]]], np.float32)
    Results([Result(points[i], scores[i], SKELETON, "run.mp4", frame=i, seconds=i / 25) for i in range(2)]).save(
        tmp_path / "poses.csv"
    )
    arguments = ["data", "convert", str(tmp_path / "poses.csv"), "--to", "deeplabcut", "-o", str(tmp_path / "out")]
    assert main(arguments) == FINE
    lines = (tmp_path / "out" / "posesDLC_cpm_fast.csv").read_text().splitlines()
    assert lines[2].startswith("coords,x,y,likelihood,x,y,likelihood") and lines[3].startswith(
        "0,0.0,1.0,0.5,2.0,3.0,0.25"
    )
    assert lines[3].split(",")[9] == "1.0" and lines[4].endswith(",,,")
    assert main(arguments) == BAD_USE and "exists already" in capsys.readouterr().err


def write_slp(path, video, format_id=1.2):
    """Write a project in SLEAP's layout: two frames, a placed and a predicted subject, one prediction corrected."""
    h5py = pytest.importorskip("h5py", reason="needs h5py")
    kind = {"py/reduce": [{"py/type": "sleap.skeleton.EdgeType"}, {"py/tuple": [1]}]}
    both = {"py/reduce": [{"py/type": "sleap.skeleton.EdgeType"}, {"py/tuple": [2]}]}
    # The skeleton's nodes are in another order than the file's.
    nodes = ["tail", "head", "left_wing", "right_wing"]
    order = [1, 2, 3, 0]
    links = [
        {"source": 1, "target": 2, "type": kind},
        {"source": 1, "target": 3, "type": {"py/id": 1}},
        {"source": 1, "target": 0, "type": {"py/id": 1}},
        {"source": 2, "target": 3, "type": both},
        {"source": 3, "target": 2, "type": {"py/id": 2}},
    ]
    skeleton = {"nodes": [{"id": place} for place in order], "links": links}
    names = [{"name": name} for name in nodes]
    header = {"nodes": names, "videos": [], "tracks": [], "version": "2.0.0", "skeletons": [skeleton]}
    point = np.dtype([("x", "f8"), ("y", "f8"), ("visible", "?"), ("complete", "?")])
    scored = np.dtype([*point.descr, ("score", "f8")])
    frame = np.dtype(
        [
            ("frame_id", "u8"),
            ("video", "u4"),
            ("frame_idx", "u8"),
            ("instance_id_start", "u8"),
            ("instance_id_end", "u8"),
        ]
    )
    instance = np.dtype(
        [
            ("instance_id", "i8"),
            ("instance_type", "u1"),
            ("frame_id", "u8"),
            ("skeleton", "u4"),
            ("track", "i4"),
            ("from_predicted", "i8"),
            ("score", "f4"),
            ("point_id_start", "u8"),
            ("point_id_end", "u8"),
            ("tracking_score", "f4"),
        ]
    )
    shift = 0.0 if format_id >= 1.1 else 0.5
    places = ((10, 20, True), (5, 30, False), (np.nan, np.nan, False), (10, 60, True))
    placed = [(x + shift, y + shift, seen, True) for x, y, seen in places]
    guessed = [(40.0 + shift + i, 20.0 + shift, True, True, 0.5) for i in range(4)]
    rows = [
        (0, 1, 0, 0, -1, -1, 0.9, 0, 4, 0),
        (1, 0, 0, 0, -1, 0, 0, 0, 4, 0),
        (2, 1, 0, 0, -1, -1, 0.9, 4, 8, 0),
        (3, 0, 1, 0, -1, -1, 0, 0, 4, 0),
    ]
    with h5py.File(path, "w") as file:
        group = file.create_group("metadata")
        group.attrs["format_id"], group.attrs["json"] = format_id, json.dumps(header)
        file["videos_json"] = [json.dumps({"backend": {"filename": video}}).encode()]
        file["frames"] = np.array([(0, 0, 2, 0, 3), (1, 0, 7, 3, 4)], frame)
        file["instances"], file["points"] = np.array(rows, instance), np.array(placed, point)
        file["pred_points"] = np.array(guessed * 2, scored)
    return h5py


@pytest.mark.parametrize("format_id", [1.0, 1.2])
def test_sleap_comes_with_its_pictures(tmp_path, format_id):
    with write_video(tmp_path / "run.avi", 25.0, (96, 128)) as video:
        for number in range(10):
            video.write(np.full((96, 128, 3), 20 * number, np.uint8))
    write_slp(tmp_path / "run.slp", "C:\\videos\\run.avi", format_id)
    out = tmp_path / "out"
    assert main(["data", "convert", str(tmp_path / "run.slp"), "-o", str(out)]) == FINE
    dataset, found = samples(out / "labels.csv")
    assert dataset.skeleton.names == SKELETON.names and dataset.skeleton.pairs == SKELETON.pairs
    assert dataset.skeleton.limbs == SKELETON.limbs
    assert [sample.name for sample in found] == ["run-000002.png", "run-000007.png"]
    assert abs(int(found[1].image.mean()) - 140) < 4
    assert np.allclose(found[0].parts_image, [[10, 20], [5, 30], [np.nan] * 2, [10, 60]], equal_nan=True)
    assert found[0].occluded.tolist() == [False, True, False, False]
    predictions = FolderPredictions(out / ".labeling", dataset.skeleton).arrays("run-000002.png")
    assert len(predictions) == 1 and predictions[0][:, 0].tolist() == [40, 41, 42, 43] and predictions[0][0, 2] == 0.5


def test_a_sleap_video_is_found_by_the_end_of_its_path(tmp_path):
    (tmp_path / "day1").mkdir()
    with write_video(tmp_path / "day1/run.avi", 25.0, (96, 128)) as video:
        for number in range(10):
            video.write(np.full((96, 128, 3), 20 * number, np.uint8))
    write_slp(tmp_path / "run.slp", "/home/somebody/mice/day1/run.avi")
    with pytest.warns(UserWarning, match=r"run\.slp: 1 of 1 .* /home/somebody/mice/day1/run\.avi is taken from"):
        assert import_labels(str(tmp_path / "run.slp"), tmp_path / "out") == (2, 2)


def test_sleap_with_embedded_pictures(tmp_path):
    path = tmp_path / "run.pkg.slp"
    h5py = write_slp(path, ".")
    encoded = [
        cv2.imencode(".png", np.full((8, 8, 3), level, np.uint8))[1].ravel().astype(np.int8) for level in (70, 90)
    ]
    with h5py.File(path, "a") as file:
        file["video0/frame_numbers"] = np.array([2, 7])
        pictures = file.create_dataset("video0/video", (2,), dtype=h5py.vlen_dtype(np.int8))
        for place, data in enumerate(encoded):
            pictures[place] = data
    assert main(["data", "convert", str(path), "-o", str(tmp_path / "out")]) == FINE
    assert [sample.image[0, 0, 0] for sample in samples(tmp_path / "out" / "labels.csv")[1]] == [70, 90]


def test_another_process_reads_a_slp_first(tmp_path, monkeypatch):
    path = tmp_path / "run.slp"
    write_slp(path, "run.avi")
    crashing = tmp_path / "probe.py"
    crashing.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    monkeypatch.setattr(hdf5, "PROBE", crashing)
    with pytest.raises(ValueError, match=r"run\.slp: damaged: the HDF5 library crashes on it"):
        SleapLabels(path)


def test_hostile_slp_is_named(tmp_path, monkeypatch):
    # The other process takes half a second per file.
    monkeypatch.setattr(hdf5, "_probe_once", lambda *_: None)
    path = tmp_path / "run.slp"
    h5py = write_slp(path, "run.avi")
    good = path.read_bytes()

    def broken(change):
        path.write_bytes(good)
        with h5py.File(path, "a") as file:
            change(file)
        with pytest.raises(ValueError, match=r"run\.slp"):
            SleapLabels(path)

    def header(text):
        return lambda file: file["metadata"].attrs.__setitem__("json", text)

    linked = '{"nodes": ["a"], "skeletons": [{"nodes": [{"id": %d}], "links": [%s]}]}'
    for text in ("{", "[]", "{}", "[" * 60_000, linked % (-1, ""), linked % (5, ""), linked % (0, '{"source": 0}')):
        broken(header(text))
    broken(lambda file: file.__delitem__("frames"))
    broken(lambda file: file.__delitem__("metadata"))
    for key, field, value in (
        ("instances", "point_id_end", 99),
        ("instances", "point_id_start", 5),
        ("frames", "instance_id_end", 1000),
    ):

        def change(file, key=key, field=field, value=value):
            rows = file[key][()]
            rows[field][-1] = value
            file[key][...] = rows

        broken(change)
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match=r"run\.slp"):
        SleapLabels(path)


def test_conversion_writes_over_nothing(labeled, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("here")
    assert main(["data", "convert", str(labeled / "labels.csv"), "-o", str(out)]) == BAD_USE
    assert "is not empty" in capsys.readouterr().err and [path.name for path in out.iterdir()] == ["mine.txt"]
    assert main(["data", "convert", str(out), "--to", "coco", "-o", str(tmp_path / "x.json")]) == BAD_USE
