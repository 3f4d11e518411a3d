"""DeepLabCut's labels: CSV and H5 of one animal and of several, projects, and an error for each mistake."""

import cv2
import numpy as np
import pytest

from cpm_fast.data.formats.deeplabcut import DeepLabCut
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton
from support import frames

HEAD = "scorer,me,me,me,me,me,me\nbodyparts,nose,nose,left_ear,left_ear,right_ear,right_ear\ncoords,x,y,x,y,x,y\n"
ROWS = "labeled-data/film/img1.png,1,2,3.5,4,5,6\nlabeled-data/film/img2.png,7,8,,,9,10.25\n"
# The same rows with the names of newer versions.
SPLIT = (HEAD + ROWS).replace("labeled-data/film/", "labeled-data,film,")
for level in ("scorer", "bodyparts", "coords"):
    SPLIT = SPLIT.replace(f"{level},", f"{level},,,")
SEVERAL = (
    "scorer,me,me,me,me,me,me,me,me,me,me\nindividuals,ann,ann,ann,ann,bob,bob,bob,bob,single,single\n"
    "bodyparts,nose,nose,tail,tail,nose,nose,tail,tail,lamp,lamp\ncoords,x,y,x,y,x,y,x,y,x,y\n"
    "img1.png,1,2,3,4,11,12,13,14,50,50\nimg2.png,,,5,6,21,22,23,28,50,50\nimg3.png,,,,,,,,,50,50\n"
)


def write(folder, text=HEAD + ROWS, name="CollectedData_me.csv"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def draw(folder, *names, value=50):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((30, 40, 3), value, np.uint8))


@pytest.mark.parametrize(
    "text",
    [HEAD + ROWS, SPLIT, (HEAD + ROWS).replace("film/", "film\\")],
    ids=["one cell a name", "three cells", "backslashes"],
)
def test_rows_become_samples(tmp_path, text):
    draw(tmp_path, "labeled-data/film/img1.png", "labeled-data/film/img2.png")
    dataset = DeepLabCut(write(tmp_path, text))
    assert (dataset.name, len(dataset)) == (tmp_path.name, 2)
    assert dataset.skeleton.names == ("nose", "left_ear", "right_ear")
    assert dataset.skeleton.pairs == (("left_ear", "right_ear"),)
    first, second = dataset[0], dataset[1]
    assert first.parts_image.tolist() == [[1, 2], [3.5, 4], [5, 6]] and first.labeled.all()
    assert second.labeled.tolist() == [True, False, True] and np.isnan(second.parts_image[1]).all()
    assert second.parts_image[2].tolist() == [9, 10.25]
    assert first.name.replace("\\", "/") == "labeled-data/film/img1.png"
    # The region is the whole picture.
    assert first.roi == Roi.whole_image(30, 40) == Roi((19.5, 14.5), 50)


def test_half_a_point_is_none_and_frames_without_labels_are_left_out(tmp_path):
    dataset = DeepLabCut(write(tmp_path, HEAD + "a.png,1,2,3,,5,nan\nb.png,,,,,,\nc.png,1,,,,,\n"))
    assert [subject.image for subject in dataset.subjects] == ["a.png"]
    assert np.isfinite(dataset.subjects[0].parts_image).all(axis=1).tolist() == [True, False, False]


def test_several_animals_are_each_others_neighbors(tmp_path):
    draw(tmp_path, "img1.png", "img2.png", "img3.png")
    dataset = DeepLabCut(write(tmp_path, SEVERAL))
    assert dataset.skeleton.names == ("nose", "tail")
    # One part has no extent, and a lamp is not an animal.
    assert [(s.image, s.parts_image.tolist()) for s in dataset.subjects] == [
        ("img1.png", [[1, 2], [3, 4]]),
        ("img1.png", [[11, 12], [13, 14]]),
        ("img2.png", [[21, 22], [23, 28]]),
    ]
    assert dataset[0].others_image.tolist() == [[[11, 12], [13, 14]]]
    assert dataset[2].region(1.25) == Roi((22, 25), 7.5)


@pytest.mark.parametrize("labels", [".", "labeled-data/film"], ids=["in the project", "beside the frames"])
def test_pictures_are_found_from_the_file_and_from_the_project(tmp_path, labels):
    draw(tmp_path, "labeled-data/film/img1.png")
    dataset = DeepLabCut(write(tmp_path / labels))
    assert dataset[0].image.shape == (30, 40, 3)
    with pytest.raises(FileNotFoundError, match=r"img2\.png"):
        dataset[1]


def test_moved_pictures_are_found_beside_the_file(tmp_path):
    draw(tmp_path, "img1.png")
    with pytest.warns(UserWarning, match="named by paths of another place"):
        assert DeepLabCut(write(tmp_path))[0].image.shape == (30, 40, 3)


def test_pictures_in_another_case_are_found_beside_the_file(tmp_path):
    draw(tmp_path, "IMG1.PNG")
    with pytest.warns(UserWarning, match="in another spelling"):
        assert DeepLabCut(write(tmp_path))[0].image.shape == (30, 40, 3)


def test_a_project_has_the_labels_of_all_its_videos(tmp_path):
    for place, film in enumerate("ba"):
        draw(tmp_path, f"labeled-data/{film}/img1.png", value=10 * place)
        write(tmp_path / "labeled-data" / film, HEAD + ROWS.replace("film", film))
    draw(tmp_path, "img2.png", "labeled-data/a/img2.png")
    dataset = DeepLabCut(tmp_path)
    assert [subject.image for subject in dataset.subjects] == [
        f"labeled-data/{film}/img{frame}.png" for film in "ab" for frame in (1, 2)
    ]
    assert [int(dataset[index].image[0, 0, 0]) for index in (0, 2)] == [10, 0]
    with pytest.raises(FileNotFoundError):  # not the picture of that name elsewhere
        dataset[3]


def test_parts_of_several_files_are_matched_by_name(tmp_path):
    """Files may have another order, more or fewer parts; missing parts are not labeled."""
    write(tmp_path / "labeled-data" / "a")
    columns = "scorer,me,me,me,me\nbodyparts,tail,tail,nose,nose\ncoords,x,y,x,y\n"
    write(tmp_path / "labeled-data" / "b", columns + "img1.png,11,12,13,14\n")
    dataset = DeepLabCut(tmp_path)
    assert dataset.skeleton.names == ("nose", "left_ear", "right_ear", "tail")
    first, *_, last = (subject.parts_image for subject in dataset.subjects)
    np.testing.assert_array_equal(first, [[1, 2], [3.5, 4], [5, 6], [np.nan, np.nan]])
    np.testing.assert_array_equal(last, [[13, 14], [np.nan, np.nan], [np.nan, np.nan], [11, 12]])


def test_names_that_differ_only_in_spaces_are_one_and_in_case_are_told(tmp_path):
    write(tmp_path / "labeled-data" / "a", HEAD.replace("nose,nose", " nose , nose ") + ROWS)
    columns = "scorer,me,me,me,me\nbodyparts,nose,nose,Left_Ear,Left_Ear\ncoords,x,y,x,y\n"
    write(tmp_path / "labeled-data" / "b", columns + "img1.png,11,12,13,14\n")
    with pytest.warns(UserWarning, match="parts 'left_ear' and 'Left_Ear' of different files count as two"):
        dataset = DeepLabCut(tmp_path)
    assert dataset.skeleton.names == ("nose", "left_ear", "right_ear", "Left_Ear")


def test_parts_of_some_animals_only(tmp_path):
    text = SEVERAL.replace("nose,nose,tail,tail,nose,nose,tail,tail", "nose,nose,tail,tail,nose,nose,paw,paw")
    dataset = DeepLabCut(write(tmp_path, text))
    assert dataset.skeleton.names == ("nose", "tail", "paw")
    assert np.isnan(dataset.subjects[0].parts_image).any(axis=1).tolist() == [False, False, True]
    assert np.isnan(dataset.subjects[1].parts_image).any(axis=1).tolist() == [False, True, False]


def test_two_files_of_labels_in_a_folder(tmp_path):
    folder = tmp_path / "labeled-data" / "film"
    write(folder, name="CollectedData_Ann.csv")
    write(folder, name="CollectedData_Annwindows.csv")
    with pytest.raises(
        ValueError, match=r"CollectedData_Ann\.csv and CollectedData_Annwindows\.csv: a folder must hold"
    ):
        DeepLabCut(tmp_path)


@pytest.mark.parametrize("start", ["D:\\project\\", "/home/user/project/", "..\\project\\"])
def test_a_project_of_another_machine(tmp_path, start):
    draw(tmp_path, "labeled-data/film/img1.png", "labeled-data/film/img2.png", "img1.png")
    write(tmp_path / "labeled-data" / "film", (HEAD + ROWS).replace("labeled-data/film/", f"{start}labeled-data/film/"))
    with pytest.warns(UserWarning, match="2 of 2 pictures are named by paths of another place"):
        dataset = DeepLabCut(tmp_path)
    assert {path.parent.name for path in dataset.picture_files()} == {"film"}


@pytest.mark.parametrize("where", [".", "labeled-data/film"], ids=["beside", "in the project"])
def test_a_skeleton_file_chooses_parts(tmp_path, where):
    (tmp_path / "skeleton.toml").write_text('names = ["right_ear", "nose"]\nlimbs = [["nose", "right_ear"]]\n')
    dataset = DeepLabCut(write(tmp_path / where))
    assert dataset.skeleton == Skeleton("skeleton", ("right_ear", "nose"), (("nose", "right_ear"),))
    assert dataset.subjects[0].parts_image.tolist() == [[5, 6], [1, 2]]
    (tmp_path / "skeleton.toml").write_text('names = ["wing"]\n')
    with pytest.raises(ValueError, match=r"me\.csv: must have the body parts \['wing'\], got"):
        DeepLabCut(tmp_path / where / "CollectedData_me.csv")


MISTAKES = {
    "empty": ("", "must begin with the rows scorer, bodyparts and coords, got"),
    "no coords": (HEAD.replace("coords", "axes"), "must begin with the rows"),
    "no axes": (HEAD.replace("x,y,x,y,x,y", ",,,,,"), r"columns must be named by scorer, .*, got \[\]"),
    "no rows": (HEAD, "must have rows with labeled parts, got none"),
    "short row": (HEAD + "a.png,1,2,3,4,5\n", "line 4: must have 7 cells, got 6"),
    "word": (HEAD + "a.png,1,2,3,4,5,six\n", "line 4: must be a number or empty, got 'six'"),
    "infinite": (HEAD + "a.png,1,2,3,4,5,inf\n", "coordinates must be finite"),
    "short head": (HEAD.replace("x,y\n", "x\n") + ROWS, "each row of the head must have 6 cells, got 7"),
    "no y": ((HEAD + ROWS).replace("x,y,x,y,x,y", "x,y,x,y,x,likelihood"), "must have the column right_ear y"),
    "a part twice": ((HEAD + ROWS).replace("right_ear", "nose"), "columns must be named each once"),
    "strange part": ((HEAD + ROWS).replace("nose,nose", "no\tse,no\tse"), "a part name must be 1 to 200 printable"),
    "open quote": ('scorer,"me\n', "not CSV that can be read"),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=rf"CollectedData_me\.csv.*{message}"):
        DeepLabCut(write(tmp_path, text))


def test_not_such_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        DeepLabCut(tmp_path / "gone.csv")
    with pytest.raises(FileNotFoundError, match="must hold labeled-data/VIDEO/CollectedData"):
        DeepLabCut(tmp_path)
    (tmp_path / "a.csv").write_bytes(b"scorer,\xff\xfe")
    with pytest.raises(ValueError, match=r"a\.csv: not a text file in UTF-8"):
        DeepLabCut(tmp_path / "a.csv")


COLUMNS = [("me", part, axis) for part in ("nose", "left_ear", "right_ear") for axis in "xy"]
VALUES = np.array([[1, 2, 3.5, 4, 5, 6], [7, 8, np.nan, np.nan, 9, 10.25]])
IMAGES = [("labeled-data", "film", "img1.png"), ("labeled-data", "film", "img2.png")]
WHOLE = [("/".join(image),) for image in IMAGES]


@pytest.mark.parametrize(
    ("form", "rows"),
    [(frames.write_fixed, WHOLE), (frames.write_fixed, IMAGES), (frames.write_table, WHOLE)],
    ids=["fixed", "fixed, split names", "table"],
)
def test_h5_says_what_csv_says(tmp_path, form, rows):
    pytest.importorskip("h5py", reason="needs h5py")
    form(tmp_path / "labels.h5", rows, COLUMNS, VALUES)
    ours, theirs = DeepLabCut(tmp_path / "labels.h5"), DeepLabCut(write(tmp_path))
    assert ours.skeleton == theirs.skeleton and len(ours) == 2
    for a, b in zip(ours.subjects, theirs.subjects, strict=True):
        assert a.image == b.image
        np.testing.assert_array_equal(a.parts_image, b.parts_image)


@pytest.mark.data
def test_real_file(data_dir):
    dataset = DeepLabCut(data_dir / "mirror-mouse" / "CollectedData.csv")
    assert (dataset.name, len(dataset), len(dataset.skeleton)) == ("mirror-mouse", 90, 17)
    sample = dataset[0]
    assert sample.name == "labeled-data/img01.png" and sample.image.shape == (406, 396, 3)
    # These are from the file's first row, where the tail of the upper view is not labeled.
    names = dataset.skeleton.names
    assert sample.parts_image[names.index("paw1LH_top")].tolist() == [77.25, 36.25]
    assert sample.parts_image[names.index("obsLow_bot")].tolist() == [74.75, 386.25]
    assert [names[i] for i in np.flatnonzero(~sample.labeled)] == ["tailBase_top", "tailMid_top"]
    # Empty cells of the file are pairs: 284 cells, 142 points.
    missing = sum(int((~np.isfinite(subject.parts_image).all(axis=1)).sum()) for subject in dataset.subjects)
    with (data_dir / "mirror-mouse" / "CollectedData.csv").open() as file:
        empty = sum(cell == "" for line in file for cell in line.rstrip("\n").split(","))
    assert missing == empty / 2 > 0
    for index in range(0, 90, 10):
        points = dataset[index].parts_image[dataset[index].labeled]
        assert ((points >= 0) & (points < (396, 406))).all()


def test_a_row_that_is_there_twice_is_told(tmp_path):
    rows = len(DeepLabCut(write(tmp_path)))
    with pytest.warns(UserWarning, match="is there twice; its first row is used"):
        assert len(DeepLabCut(write(tmp_path, HEAD + ROWS + ROWS.splitlines()[0] + "\n"))) == rows


def test_rows_that_cannot_be_used_are_left_out_and_named(tmp_path):
    bad = "a.png,1,2,3,4,5\nb.png,1,2,3,4,5,six\nc.png,1,2,3,4,5,inf\nd.png,1,2,3,4,5,6,7\n"
    with pytest.warns(UserWarning, match=r"4 of 6 rows left out: Collected\S+ line 4: must have 7 cells, got 6"):
        dataset = DeepLabCut(write(tmp_path, HEAD + bad + ROWS))
    assert len(dataset) == 2 and len(dataset.left_out) == 4


def test_empty_columns_of_a_spreadsheet_are_passed_over(tmp_path):
    wanted = DeepLabCut(write(tmp_path)).subjects
    for text in ((HEAD + ROWS).replace("\n", ",,\n"), HEAD + ROWS.replace("\n", ",,\n")):
        found = DeepLabCut(write(tmp_path, text)).subjects
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one.parts_image, other.parts_image)


def test_predictions_of_a_video_are_no_labels(tmp_path):
    text = "scorer,D,D,D\nbodyparts,nose,nose,nose\ncoords,x,y,likelihood\n0,1,2,0.9\n1,3,4,0.9\n"
    with pytest.raises(ValueError, match="holds predictions for the frames of a video, not labels of pictures"):
        DeepLabCut(write(tmp_path, text))
