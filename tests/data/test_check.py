"""data check: each fault is planted once and found, and correct data has none."""

import json
import shutil

import cv2
import numpy as np
import pytest

from cpm_fast.cli import BAD_RESULT, BAD_USE, FINE, main
from cpm_fast.data.check import Checker, swapped_sides
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.skeleton import COCO, LSP, MPII, Skeleton


@pytest.fixture
def table(tmp_path):
    """Write six pictures of drawn figures with a correct table."""
    figures = DrawnFigures(6)
    columns = ["image", *(f"{part}_{axis}" for part in LSP.names for axis in "xy")]
    rows = []
    for i in range(6):
        sample = figures[i]
        cv2.imwrite(str(tmp_path / f"{i}.png"), sample.image)
        rows.append([f"{i}.png", *("" if np.isnan(v) else f"{v:.3f}" for v in sample.parts_image.ravel())])

    def write(rows=rows):
        (tmp_path / "own.csv").write_text("\n".join(",".join(row) for row in [columns, *rows]) + "\n")
        return tmp_path / "own.csv"

    write.rows = rows
    return write


def found(capsys, path, output, code: int) -> dict:
    assert main(["data", "check", str(path), "-o", str(output)]) == code
    shown = capsys.readouterr().out
    assert "own: " in shown and "check.json" in shown
    return json.loads((output / "check.json").read_text())[0]


def test_sound_data(table, tmp_path, capsys):
    check = found(capsys, table(), tmp_path / "out", FINE)
    assert check["samples"] == check["read"] == 6 and check["labeled"]["neck"] >= 5
    assert not any(value for value in check.values() if isinstance(value, list))
    assert cv2.imread(str(tmp_path / "out" / "own-examples.png")).shape == (480, 720, 3)
    assert not (tmp_path / "out" / "own-suspicious.png").exists()


def test_every_fault_is_found(table, tmp_path, capsys):
    rows = [list(row) for row in table.rows]
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").write_bytes(b"no picture")
    rows[2][1:3] = ["5000", "3"]
    knee, hip = (1 + 2 * LSP.index(name) for name in ("left_hip", "right_hip"))
    rows[3] = [*rows[3]]
    head_and_arms = "50 5  50 20  35 22  30 45  28 65  65 22  70 45  72 65"
    legs = "40 70  40 110  40 150  60 70  60 110  60 150"
    rows[3][1:] = f"{head_and_arms} {legs}".split()
    rows[3][knee : knee + 2], rows[3][hip : hip + 2] = rows[3][hip : hip + 2], rows[3][knee : knee + 2]
    shutil.copy(tmp_path / "4.png", tmp_path / "copy.png")
    rows += [["copy.png", *rows[4][1:]], list(rows[5])]
    check = found(capsys, table(rows), tmp_path / "out", BAD_RESULT)
    assert len(check["picture missing"]) == 1 and "0.png" in check["picture missing"][0]
    assert len(check["can't be read"]) == 1 and "1.png: not a picture" in check["can't be read"][0]
    assert check["part outside the picture"] == ["2.png: head_top"]
    assert check["left and right perhaps swapped"] == ["3.png: shoulders and hips face opposite ways"]
    assert check["same picture under two names"] == ["copy.png = 4.png"]
    assert check["same annotation twice"] == ["copy.png = 4.png", "5.png = 5.png"]
    assert check["read"] == 6 and (tmp_path / "out" / "own-suspicious.png").exists()


def test_drawn_figures_are_hardly_ever_suspicious():
    checker = Checker(DrawnFigures(60))
    for i in range(60):
        checker.look(i)
    assert len(checker.check.swapped) <= 3 and checker.check.fine and checker.check.same_picture == []


@pytest.mark.parametrize("skeleton", [LSP, MPII, COCO], ids=lambda skeleton: skeleton.name)
def test_exchanged_knees_cross_over(skeleton):
    places = {"shoulder": 30, "elbow": 60, "wrist": 90, "hip": 100, "knee": 150, "ankle": 200}
    parts = np.full((len(skeleton), 2), np.nan)
    for side, x in (("left", 100), ("right", 40)):
        for part, y in places.items():
            parts[skeleton.index(f"{side}_{part}")] = x, y
    assert swapped_sides(parts, skeleton) == []
    knees = [skeleton.index("left_ankle"), skeleton.index("right_ankle")]
    parts[knees, 0] = parts[knees[::-1], 0]
    parts[knees, 1] = 155
    odd = swapped_sides(parts, skeleton)
    assert len(odd) == 1 and "knee" in odd[0] and odd[0].endswith("ankle crosses over")


def test_a_skeleton_without_sides():
    assert swapped_sides(np.zeros((2, 2)), Skeleton("line", ("a", "b"), limbs=(("a", "b"),))) == []


def test_left_out_and_one_sided(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((48, 64, 3), np.uint8))
    rows = ["image,nose_x,nose_y,paw_l_x,paw_l_y", "a.png,1,2,30,40", "a.png,,,,"]
    (tmp_path / "own.csv").write_text("\n".join(rows) + "\n")
    assert main(["data", "check", str(tmp_path / "own.csv"), "-o", str(tmp_path / "out")]) == FINE
    shown, told = capsys.readouterr()
    assert "1 of 2 rows left out" in told
    assert "annotation left out: 1: line 3: " in shown
    assert "mirroring: off, because no partner is known of paw_l" in shown


def test_bad_use(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", "none.csv"]) == BAD_USE
    assert "none.csv: no such file" in capsys.readouterr().err and list(tmp_path.iterdir()) == []
    with pytest.raises(SystemExit):
        main(["data"])
    with pytest.raises(SystemExit):
        main(["data", "check"])


@pytest.mark.data
def test_real_pictures(data_dir):
    from cpm_fast.data.open import open_dataset

    checker = Checker(open_dataset(data_dir / "lsp"))
    for i in range(20):
        checker.look(i)
    assert checker.check.fine or checker.check.missing == []
    assert checker.check.sizes.total() == 20
