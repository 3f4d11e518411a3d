"""The store: saved at once, no change lost, nothing outside of the folder."""

import os
import sys
import threading

import cv2
import numpy as np
import pytest

from cpm_fast.data.open import open_dataset
from cpm_fast.labeling.folder import list_pictures
from cpm_fast.labeling.store import Conflict, Store
from cpm_fast.labeling.table import LabeledSubject
from support.labeling import SKELETON, draw_pictures


@pytest.fixture
def store(beetles):
    store = Store(beetles, SKELETON)
    yield store
    store.close()


def subject(x: float, row: int | None = None) -> LabeledSubject:
    return LabeledSubject(((x, 10.0, 2), (x + 5, 20.0, 1), None, None), (1.0, 2.0, 30.0, 40.0), row)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize(
    ("size", "wanted"),
    [((3000, 4000), (72, 96)), ((400, 100), (72, 18)), ((100, 3200), (9, 288)), ((20, 40), (72, 144))],
)
def test_small_pictures_keep_their_shape(tmp_path, size, wanted, suffix):
    picture = np.full((*size, 3), 30, np.uint8)
    picture[:, size[1] // 2 :] = 220
    cv2.imwrite(str(tmp_path / f"one{suffix}"), picture)
    store = Store(tmp_path, SKELETON)
    thumb = cv2.imdecode(np.frombuffer(store.thumb(0), np.uint8), cv2.IMREAD_COLOR)
    store.close()
    assert thumb.shape[:2] == wanted
    assert (
        abs(int(thumb[:, : wanted[1] // 3].mean()) - 30) < 6 and abs(int(thumb[:, -wanted[1] // 3 :].mean()) - 220) < 6
    )


def test_what_is_saved_is_on_the_disk(store):
    base = store.picture(2)["revision"]
    saved = store.save(2, base, [subject(7), subject(70)], "labeled")
    assert saved["state"] == "labeled" and saved["revision"] != base
    dataset = open_dataset(str(store.folder / "labels.csv"))
    sample = dataset[1]
    assert sample.name == "run-000002.png" and sample.parts_image[:2].tolist() == [[70, 10], [75, 20]]
    assert sample.labeled.tolist() == [True, True, False, False]
    assert sample.occluded is not None and sample.occluded.tolist() == [False, True, False, False]
    assert sample.others_image[0, 0].tolist() == [7, 10]


def test_a_change_to_an_old_revision_is_refused(store):
    base = store.picture(0)["revision"]
    store.save(0, base, [subject(7)], "labeled")
    with pytest.raises(Conflict) as caught:
        store.save(0, base, [subject(8)], "labeled")
    assert caught.value.picture["subjects"][0]["points"][0][0] == 7
    store.save(0, caught.value.picture["revision"], [subject(8, 0)], "labeled")
    assert store.picture(0)["subjects"][0]["points"][0][0] == 8


def test_many_pages_at_once_lose_nothing(store):
    """Each thread adds its subject, beginning anew after every conflict."""

    def add(x: float) -> None:
        while True:
            picture = store.picture(3)
            before = [LabeledSubject.from_dict(one, 4) for one in picture["subjects"]]
            try:
                store.save(3, picture["revision"], [*before, subject(x)], "labeled")
                return
            except Conflict:
                continue

    threads = [threading.Thread(target=add, args=(float(x),)) for x in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one["points"][0][0] for one in store.picture(3)["subjects"]) == list(range(12))
    assert len(open_dataset(str(store.folder / "labels.csv"))) == 12


def test_a_table_that_another_program_wrote_is_read_again(store):
    base = store.picture(1)["revision"]
    store.save(1, base, [subject(7)], "labeled")
    version = store.overview()["version"]
    path = store.folder / "labels.csv"
    path.write_text(path.read_text().replace("run-000001.png,0,1,2,30,40,7,", "run-000001.png,0,1,2,30,40,9.5,"))
    os.utime(path, ns=(1, 1))
    assert store.picture(1)["subjects"][0]["points"][0][0] == 9.5
    assert list(store.changes(version)["pictures"]) == [1]


def test_a_full_disk_changes_nothing(store, monkeypatch):
    base = store.picture(1)["revision"]
    saved = store.save(1, base, [subject(7)], "labeled")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        store.save(1, saved["revision"], [subject(9, 0)], "labeled")
    monkeypatch.undo()
    assert store.picture(1) == saved
    assert "9,10" not in (store.folder / "labels.csv").read_text()


def test_one_store_holds_a_folder(store, beetles):
    with pytest.raises(RuntimeError, match="another cpm-fast label serves"):
        Store(beetles, SKELETON)
    store.close()
    Store(beetles, SKELETON).close()


def test_sides_that_look_swapped_are_told(beetles):
    store = Store(beetles, SKELETON)
    store.predict(0, [np.array([[50, 10, 0.9], [20, 40, 0.9], [80, 40, 0.9], [50, 90, 0.9]])])
    assert store.picture(0)["state"] == "predicted" and store.overview()["uncertainty"][0] == pytest.approx(0.1)
    crossed = LabeledSubject(((50.0, 10.0, 2), (79.0, 40.0, 2), (21.0, 41.0, 2), None))
    right = LabeledSubject(((50.0, 10.0, 2), (21.0, 41.0, 2), (79.0, 40.0, 2), None), row=0)
    saved = store.save(0, store.picture(0)["revision"], [crossed], "labeled")
    assert saved["warnings"] == [["the network sees left_wing and right_wing the other way round"]]
    assert store.save(0, saved["revision"], [right], "labeled")["warnings"] == [[]]
    store.close()


def test_predictions_are_kept(beetles):
    store = Store(beetles, SKELETON, "abc")
    store.predict(4, [np.array([[50, 10, 0.9], [20, 40, 0.5], [np.nan] * 3, [50, 90, 0.25]])])
    store.save_predictions()
    store.close()
    again = Store(beetles, SKELETON)
    assert again.picture(4)["predictions"] == [{"points": [[50, 10, 0.9], [20, 40, 0.5], None, [50, 90, 0.25]]}]
    again.close()
    other = Store(beetles, SKELETON, "another network")
    assert other.picture(4)["predictions"] == []
    other.close()


HOSTILE = (
    "<img src=x onerror=alert(1)>.png",
    "a\nb.png",
    "=cmd|' C calc'!A0.png",
    "a..png",
    "%2e%2e%2fx.png",
    "quote\"',;.png",
    "ключ 钥匙.png",
    " lead.png",
    "-o.png",
    "$HOME.png",
    "c" * 200 + ".png",
)


@pytest.mark.skipif(sys.platform == "win32", reason="these are no file names there")
def test_hostile_names_round_trip(tmp_path):
    source = draw_pictures(tmp_path / "one", 1)[0].read_bytes()
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in HOSTILE:
        (folder / name).write_bytes(source)
    (folder / ".hidden.png").write_bytes(source)
    names = list_pictures(folder)
    assert sorted(names) == sorted(HOSTILE)
    store = Store(folder, SKELETON)
    for number in range(len(names)):
        store.save(number, store.picture(number)["revision"], [subject(number)], "labeled")
    store.close()
    dataset = open_dataset(str(folder / "labels.csv"))
    assert [dataset[i].name for i in range(len(dataset))] == names


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_out_of_the_folder_are_not_followed(tmp_path):
    outside = draw_pictures(tmp_path / "outside", 1)[0]
    folder = tmp_path / "inside"
    draw_pictures(folder, 2)
    (folder / "link.png").symlink_to(outside)
    (folder / "up").symlink_to(outside.parent)
    assert list_pictures(folder) == ["run-000000.png", "run-000001.png"]
    store = Store(folder, SKELETON)
    (folder / "run-000001.png").unlink()
    (folder / "run-000001.png").symlink_to(outside)
    with pytest.raises(FileNotFoundError, match="gone"):
        store.shown(1)
    store.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such names")
def test_names_that_are_no_text_are_told(tmp_path):
    source = draw_pictures(tmp_path, 1)[0].read_bytes()
    with open(os.fsencode(tmp_path) + b"/\xff\xfe.png", "wb") as file:
        file.write(source)
    with pytest.warns(UserWarning, match="1 pictures have names that are not UTF-8"):
        assert list_pictures(tmp_path) == ["run-000000.png"]


def test_names_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("img10.png", "img2.png", "b/img1.png", "img2-1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 4), np.uint8))
    assert list_pictures(tmp_path) == ["b/img1.png", "img2-1.png", "img2.png", "img10.png"]


def test_pictures_that_browsers_do_not_show_are_sent_as_png(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tif"), np.full((4, 4, 3), 9, np.uint8))
    store = Store(tmp_path, SKELETON)
    data, media = store.shown(0)
    assert media == "image/png" and isinstance(data, bytes) and data.startswith(b"\x89PNG")
    store.close()
