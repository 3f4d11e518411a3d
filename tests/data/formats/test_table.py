"""One's own pictures and a CSV file: accepted forms, and an error with the line for every mistake."""

import os

import cv2
import numpy as np
import pytest

from cpm_fast.data.formats.table import PartsTable
from cpm_fast.results.result import Result, Results
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP

HEAD = "image,nose_x,nose_y,left_paw_x,left_paw_y,right_paw_x,right_paw_y"
ROW = "a.png,10,12,20.5,30,40,31"


def write(folder, *lines, name="cats.csv"):
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def draw(folder, *names, value=70):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((48, 64, 3), value, np.uint8))


def test_rows_become_samples(tmp_path):
    draw(tmp_path, "a.png", "more/b.png")
    table = PartsTable(write(tmp_path, HEAD, ROW, "more/b.png,1,2,,,5,9"))
    assert (table.name, len(table), table.skeleton.names) == ("cats", 2, ("nose", "left_paw", "right_paw"))
    first, second = table[0], table[1]
    assert first.parts_image.tolist() == [[10, 12], [20.5, 30], [40, 31]]
    assert first.labeled.all() and first.image.shape == (48, 64, 3) and first.name == "a.png"
    assert first.others_image.shape == (0, 3, 2)
    assert second.labeled.tolist() == [True, False, True] and np.isnan(second.parts_image[1]).all()
    # Without a limb of the scale rule, the region has the network's margin around the labeled parts.
    assert first.roi is None and first.box_image == (10, 12, 40, 31)
    assert first.region(1.4) == Roi((25.0, 21.5), 42.0)


def test_names_give_the_pairs(tmp_path):
    columns = ("left_ear", "tail", "right_ear", "left_fin", "right_wing", "left_out")
    head = ",".join(["image", *(f"{part}_{axis}" for part in columns for axis in "xy")])
    table = PartsTable(write(tmp_path, head, "a.png" + ",1,2,3,4,5,6,7,8,9,10,11,12"))
    assert table.skeleton.pairs == (("left_ear", "right_ear"),)
    assert table.skeleton.mirror == (2, 1, 0, 3, 4, 5)


def test_spaces_at_the_ends_of_names_are_no_part_of_them(tmp_path):
    (tmp_path / "skeleton.toml").write_text('names = ["tail ", " left ear"]\nlimbs = [["tail ", " left ear"]]\n')
    table = PartsTable(write(tmp_path, "image, left ear _x, left ear _y,tail _x , tail _y", "a.png,1,2,3,4"))
    assert table.skeleton.names == ("tail", "left ear") and table.skeleton.limbs == (("tail", "left ear"),)
    assert table.parts_image[0].tolist() == [[3, 4], [1, 2]]


def test_a_skeleton_file_gives_order_names_limbs_and_pairs(tmp_path):
    draw(tmp_path, "a.png")
    (tmp_path / "skeleton.toml").write_text(
        'name = "cat"\nnames = ["right_paw", "left_paw"]\nlimbs = [["left_paw", "right_paw"]]\n'
        'pairs = [["left_paw", "right_paw"]]\n'
    )
    table = PartsTable(write(tmp_path, HEAD, ROW))
    assert (table.skeleton.name, table.skeleton.limbs) == ("cat", (("left_paw", "right_paw"),))
    assert table[0].parts_image.tolist() == [[40, 31], [20.5, 30]]


def test_boxes_are_the_regions_where_they_are_given(tmp_path):
    draw(tmp_path, "a.png")
    path = write(tmp_path, HEAD + ",left,top,right,bottom", ROW + ",0,10,40,30", ROW + ",,,,", "a.png,,,,,,,5,5,9,15")
    table = PartsTable(path)
    assert table[0].region(1.25) == Roi((20.0, 20.0), 50.0) and table[0].region(1.4) == Roi((20.0, 20.0), 56.0)
    assert table[1].region(1.25).center == (25.0, 21.5)
    assert table[2].region(1.25) == Roi((7.0, 10.0), 12.5) and not table[2].labeled.any()


def test_rows_of_one_picture_are_each_others_neighbors(tmp_path):
    draw(tmp_path, "a.png", "b.png")
    table = PartsTable(write(tmp_path, HEAD, ROW, "b.png,1,1,2,2,3,3", "a.png,5,6,,,7,8", "a.png,9,9,8,8,7,7"))
    first, alone, second = table[0], table[1], table[2]
    assert first.others_image.shape == (2, 3, 2) and alone.others_image.shape == (0, 3, 2)
    np.testing.assert_array_equal(first.others_image, table.parts_image[[2, 3]])
    np.testing.assert_array_equal(second.others_image, table.parts_image[[0, 3]])
    assert np.isnan(first.others_image[0, 1]).all()


def test_saved_results_are_read_back(tmp_path):
    draw(tmp_path, "a.png", "b.png")
    random = np.random.default_rng(0)
    keypoints = random.uniform(0, 60, (3, 14, 2)).astype(np.float32)
    keypoints[2, 4] = np.nan
    scores = np.ones((3, 14), np.float32)
    Results(
        [
            Result(keypoints[:2], scores[:2], LSP, "a.png"),
            Result(keypoints[2:], scores[2:], LSP, "b.png"),
        ]
    ).save(tmp_path / "found.csv")
    table = PartsTable(tmp_path / "found.csv")
    assert table.images == ["a.png", "a.png", "b.png"]
    assert table.skeleton.names == LSP.names and table.skeleton.mirror == LSP.mirror
    np.testing.assert_array_equal(table.parts_image.astype(np.float32), keypoints)
    assert table.labeled.sum() == 3 * 14 - 1
    assert len(table[0].others_image) == 1


def test_spreadsheets_write_marks_spaces_and_further_columns(tmp_path):
    path = tmp_path / "sheet.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f'{HEAD},remark\r\n{ROW.replace(",", ", ")},"a, b"\r\n'.encode())
    table = PartsTable(path)
    assert table.images == ["a.png"] and table.parts_image[0, 0].tolist() == [10, 12]


def test_empty_cells_beyond_the_head_are_passed_over(tmp_path):
    table = PartsTable(write(tmp_path, HEAD, ROW + ",, ", ROW))
    assert len(table) == 2 and table.parts_image[0].tolist() == table.parts_image[1].tolist()


MISTAKES = {
    "no row": ((HEAD,), "at least one row"),
    "empty": (("",), r"must have columns <part>_x and <part>_y"),
    "no y": (("image,nose_x", "a.png,1"), r"must have columns <part>_x and <part>_y"),
    "no image column": ((HEAD.replace("image", "file"), ROW), "must have the column image"),
    "column twice": ((HEAD + ",nose_x,nose_y", ROW + ",1,2"), "line 1: columns must be unique, got nose_x twice"),
    "strange part": ((HEAD.replace("nose", "no\tse"), ROW), "line 1: .*part name must be"),
    "word": ((HEAD, ROW.replace("12", "twelve")), "line 2: nose_y must be a number or empty, got 'twelve'"),
    "infinite": ((HEAD, ROW.replace("12", "inf")), "line 2: nose_y must be a number or empty, got 'inf'"),
    "word below empty lines": ((HEAD, "", "", ROW.replace("40", "x")), "line 4: right_paw_x must be a number"),
    "word below a cell of two lines": (
        (HEAD, f'"a\nb.png"{ROW[5:].replace("40", "x")}'),
        "line 3: right_paw_x must be a number",
    ),
    "half a point": ((HEAD, ROW.replace("12", "")), "line 2: nose_x and nose_y must both"),
    "short row": ((HEAD, ROW[:-3]), "line 2: must have 7 cells"),
    "long row": ((HEAD, ROW + ",1"), "line 2: must have 7 cells"),
    "no picture named": ((HEAD, ROW[5:].replace(",", " ,", 1)), "line 2: image must name a picture"),
    "one part": ((HEAD, "a.png,1,2,,,,"), "line 2: must have two labeled parts or a box, got 1"),
    "one point": ((HEAD, "a.png,1,2,1,2,1,2"), "line 2: parts must not all lie on one point"),
    "box inside out": ((HEAD + ",left,top,right,bottom", ROW + ",9,9,3,12"), "line 2: box must have left < right"),
    "half a box": (
        (HEAD + ",left,top,right,bottom", ROW + ",1,1,,12"),
        "line 2: left, top, right, bottom must all be given",
    ),
    "open quote": ((HEAD, f'"{ROW}'), "after line 1: not CSV that can be read"),
}


@pytest.mark.parametrize(("lines", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_file_and_line(tmp_path, lines, message):
    path = write(tmp_path, *lines)
    with pytest.raises(ValueError, match=f"cats.csv.* ?{message}"):
        PartsTable(path)


def test_not_a_text_file(tmp_path):
    (tmp_path / "cats.csv").write_bytes(b"image,nose_x\n\xff\xfe\x00\x93")
    with pytest.raises(ValueError, match=r"cats.csv: not a text file in UTF-8"):
        PartsTable(tmp_path / "cats.csv")


@pytest.mark.parametrize("path", ["missing.csv", "."], ids=["missing", "a folder"])
def test_no_such_file(tmp_path, path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        PartsTable(tmp_path / path)


def test_columns_missing_from_a_skeleton_file_are_named(tmp_path):
    (tmp_path / "skeleton.toml").write_text('names = ["nose", "tail"]\n')
    with pytest.raises(ValueError, match=r"cats.csv: must have the column tail_x, tail_y"):
        PartsTable(write(tmp_path, HEAD, ROW))


def test_a_broken_skeleton_file_is_named(tmp_path):
    (tmp_path / "skeleton.toml").write_text("names = [")
    with pytest.raises(ValueError, match=r"skeleton.toml"):
        PartsTable(write(tmp_path, HEAD, ROW))


def test_a_picture_that_is_not_there_fails_alone(tmp_path):
    draw(tmp_path, "a.png")
    table = PartsTable(write(tmp_path, HEAD, ROW, ROW.replace("a.png", "gone.png")))
    assert table[0].labeled.all()
    with pytest.raises(FileNotFoundError, match=r"gone.png"):
        table[1]


def test_parts_of_a_built_in_skeleton_bring_its_limbs_and_pairs(tmp_path):
    head = ",".join(["image", *(f"{part}_{axis}" for part in LSP.names for axis in "xy")])
    assert PartsTable(write(tmp_path, head, "a.png" + ",1,2" * 13 + ",3,4")).skeleton is LSP


def test_pictures_may_lie_where_the_program_runs(tmp_path, monkeypatch):
    """A table of `infer` names its pictures as they were given, for any place of the table."""
    draw(tmp_path, "pictures/a.png", value=30)
    (tmp_path / "out").mkdir()
    table = PartsTable(write(tmp_path / "out", HEAD, ROW.replace("a.png", "pictures/a.png")))
    monkeypatch.chdir(tmp_path)
    assert table[0].image[0, 0].tolist() == [30, 30, 30]
    draw(tmp_path, "out/pictures/a.png", value=90)
    assert table[0].image[0, 0].tolist() == [90, 90, 90]


def test_rows_that_cannot_be_used_are_left_out_and_named(tmp_path):
    path = write(tmp_path, HEAD, ROW, ",,,,,,", "a.png,,,,,,", ROW.replace("12", "x"), ROW[:-3], ROW)
    with pytest.warns(
        UserWarning, match=r"cats\.csv: 4 of 6 rows left out: line 3: image must name a picture, got noth"
    ):
        table = PartsTable(path)
    assert len(table) == 2 and [reason.partition(":")[0] for reason in table.left_out] == [
        "line 3",
        "line 4",
        "line 5",
        "line 6",
    ]


def test_flags_of_visibility(tmp_path):
    draw(tmp_path, "a.png")
    path = write(tmp_path, HEAD + ",nose_v,left_paw_v,right_paw_v", ROW + ",0,1,2", ROW + ",-1,2,", ROW + ",7,2,2")
    with pytest.warns(UserWarning, match="line 4: nose_v must be 0 .*, got 7"):
        table = PartsTable(path)
    assert [table[i].labeled.tolist() for i in (0, 1)] == [[False, True, True]] * 2
    assert [table[i].occluded.tolist() for i in (0, 1)] == [[False, True, False], [False] * 3]


@pytest.mark.parametrize(
    "name", ["D:\\mice\\day1\\a.png", "/home/user/mice/day1/a.png", "day1\\a.png", "other/place/a.png", "C:a.png"]
)
def test_paths_of_another_machine(tmp_path, name):
    draw(tmp_path, "a.png" if "day1" not in name else "day1/a.png", value=33)
    with pytest.warns(UserWarning, match=r"cats: 1 of 1 pictures are named by paths of another place"):
        table = PartsTable(write(tmp_path, HEAD, ROW.replace("a.png", name)))
    assert table[0].image[0, 0, 0] == 33


def test_one_file_under_two_names_of_another_machine(tmp_path):
    draw(tmp_path, "a.png")
    path = write(tmp_path, HEAD, ROW.replace("a.png", "/x/day1/a.png"), ROW.replace("a.png", "/x/day2/a.png"))
    with pytest.raises(ValueError, match=r"/x/day1/a\.png and /x/day2/a\.png are both found as"):
        PartsTable(path)


def test_frames_of_a_video(tmp_path):
    video = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for number in range(8):
        video.write(np.full((48, 64, 3), 20 * number, np.uint8))
    video.release()
    rows = [f"v.avi,{frame},1,2,3,4,5,6" for frame in (5, 2)]
    path = write(tmp_path, HEAD.replace("image", "image,frame"), *rows, "v.avi,1.5,1,2,3,4,5,6")
    with pytest.warns(UserWarning, match="1 of 3 rows left out"):
        table = PartsTable(path)
    assert [round(float(table[index].image.mean()) / 20) for index in (0, 1)] == [5, 2]
    assert [table[index].name for index in (0, 1)] == ["v.avi frame 5", "v.avi frame 2"]
    assert table.left_out == ("line 4: frame must be a whole number from 0, got 1.5",)
    assert table.picture_files() == [tmp_path / "v.avi"]


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "cats.csv")
    with pytest.raises(ValueError, match=r"cats\.csv: must be a regular file"):
        PartsTable(tmp_path / "cats.csv")
