"""infer: every kind of image, every way to give the subject's place, and every bad input."""

import dataclasses
import threading

import cv2
import numpy as np
import pytest
import torch

from cpm_fast.config import compact
from cpm_fast.inference import infer
from cpm_fast.model.cpm import CPM
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP
from cpm_fast.system.torch_settings import wanted_threads

CONFIG = dataclasses.replace(compact(), input_size=(64, 64), stages=2)
GREY = np.full((40, 60, 3), 90, np.uint8)
pytestmark = pytest.mark.usefixtures("one_thread")


class Dots(CPM):
    """An exact network: its belief is at the marks of the image, part i in the color (i + 1, 0, 255).

    In a mirrored crop it calls the marks of left parts right, as a trained network would: the marks of parts 0 and 1
    show whether the crop is mirrored. (Soft edges of a mark may have another part's color, so parts without marks are
    not judged.)
    """

    def __init__(self, config=CONFIG) -> None:
        super().__init__(config)
        self.forwards: list[int] = []

    def forward(self, crops, center_map=None):
        self.forwards.append(len(crops))
        pixels = torch.round(crops * 256 + 128)
        h, w = crops.shape[2] // 8, crops.shape[3] // 8
        y, x = torch.meshgrid(torch.arange(h) * 8 + 3.5, torch.arange(w) * 8 + 3.5, indexing="ij")
        maps = torch.zeros(len(crops), 15, h, w)
        for n, crop in enumerate(pixels):
            centers = {}
            for part in range(14):
                marked = ((crop[2] > 200) & ((crop[0] - 16 * (part + 1)).abs() <= 3)).nonzero().double()
                if len(marked):
                    centers[part] = marked.mean(dim=0)
            turned = 0 in centers and 1 in centers and bool(centers[0][1] > centers[1][1])
            for part, (cy, cx) in centers.items():
                own = LSP.mirror[part] if turned else part
                maps[n, own] = torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 8.0**2))
        return [maps * 0.5, maps]


def marked_picture(parts: np.ndarray, size: tuple[int, int] = (200, 300), radius: int = 5) -> np.ndarray:
    image = np.zeros((*size, 3), np.uint8)
    for i, (x, y) in enumerate(parts.tolist()):
        if np.isfinite(x):
            cv2.rectangle(
                image,
                (int(x) - radius, int(y) - radius),
                (int(x) + radius, int(y) + radius),
                (16 * (i + 1), 0, 255),
                -1,
            )
    return image


# The marks are so far apart that none touch; part 0 is left of part 1.
PARTS = np.full((14, 2), np.nan)
PARTS[[0, 1, 2, 4, 7, 10]] = [[90, 60], [150, 62], [120, 100], [95, 135], [155, 138], [122, 150]]


@pytest.mark.parametrize("pyramid", [(1.0,), (0.8, 1.0, 1.2)], ids=["one scale", "pyramid"])
@pytest.mark.parametrize("flip", [False, True], ids=["plain", "flip"])
@pytest.mark.parametrize(
    "where", [{"boxes": [60, 30, 190, 170]}, {"rois": Roi((123.4, 104.2), 170.3)}, {}], ids=["box", "roi", "whole"]
)
def test_known_maps_give_image_coordinates(where, pyramid, flip):
    config = dataclasses.replace(CONFIG, input_size=(128, 128))
    result = infer(marked_picture(PARTS), model=Dots(config), pyramid=pyramid, flip=flip, **where)[0]
    cell = 8 * result.rois[0].side / 128
    known = np.isfinite(PARTS[:, 0])
    error = np.abs(result.keypoints[0][known] - PARTS[known])
    assert error.max() < cell / 4, error
    assert (result.scores[0][known] > 0.7).all()


def test_the_flip_is_exact_for_a_mirrored_picture():
    config = dataclasses.replace(CONFIG, input_size=(128, 128))
    image, roi = marked_picture(PARTS), Roi((120.0, 100.0), 160.0)
    plain = infer(image, model=Dots(config), rois=roi)[0].keypoints
    both = infer(image, model=Dots(config), rois=roi, flip=True)[0].keypoints
    known = np.isfinite(PARTS[:, 0])
    assert np.abs(plain - both)[0][known].max() < 0.5


def test_each_subject_of_each_image_has_its_own_place(picture):
    model = Dots()
    shifted = [PARTS + np.array([dx, 0]) for dx in (0, 40, -30)]
    images = [marked_picture(parts) for parts in shifted]
    boxes = [np.array([[60, 30, 190, 170], [50, 20, 200, 180]]) + np.array([dx, 0, dx, 0]) for dx in (0, 40, -30)]
    boxes[1] = boxes[1][:0]
    results = infer(images, model=model, boxes=boxes, batch=3)
    assert [len(result) for result in results] == [2, 0, 2]
    assert results[1].keypoints.shape == (0, 14, 2) and results[1].scores.shape == (0, 14)
    for i in (0, 2):
        known = np.isfinite(PARTS[:, 0])
        for keypoints, roi in zip(results[i].keypoints, results[i].rois, strict=True):
            assert np.abs(keypoints[known] - shifted[i][known]).max() < 8 * roi.side / 64 / 2
    assert model.forwards == [3, 1]


@pytest.mark.parametrize(
    ("images", "pyramid", "flip", "batch", "forwards"),
    [
        (7, (1.0,), False, 3, [3, 3, 1]),
        (3, (0.8, 1.0), True, 5, [5, 5, 2]),
        (1, (1.0, 1.1, 1.2), False, 2, [2, 1]),
        (4, (1.0,), False, 16, [4]),
    ],
)
def test_crops_of_all_images_share_batches(images, pyramid, flip, batch, forwards):
    model = Dots()
    infer([GREY] * images, model=model, pyramid=pyramid, flip=flip, batch=batch)
    assert model.forwards == forwards


def test_results_do_not_depend_on_the_batch(model, picture):
    images, options = [picture, picture[::-1], picture[:20]], {"model": model, "pyramid": (0.9, 1.0), "flip": True}
    alone, together = infer(images, batch=1, **options), infer(images, batch=16, **options)
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=1e-3)
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)


def test_images_are_read_only_as_they_are_needed(folder, monkeypatch, picture):
    for i in range(20):
        cv2.imwrite(str(folder / f"more{i}.png"), picture)
    events = []
    model = Dots()
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda *args: (events.append("forward"), forward(*args))[1])
    from cpm_fast.media import sources

    read = sources.read_picture
    monkeypatch.setattr(sources, "read_picture", lambda *args: (events.append("read"), read(*args))[1])
    infer(folder, model=model, batch=4, readers=0)
    assert events[:10] == ["read"] * 4 + ["forward"] + ["read"] * 4 + ["forward"]
    for readers in (1, 3):
        events.clear()
        infer(folder, model=model, batch=4, readers=readers)
        assert events.count("read") == 23 and events.count("forward") == 6
        for at in (i for i, event in enumerate(events) if event == "forward"):
            taken, used = events[:at].count("read"), 4 * events[:at].count("forward")
            assert taken - used <= 4 + 2 * 4, events


@pytest.mark.parametrize("readers", [1, 3])
def test_reading_ahead_changes_no_result(model, folder, readers):
    cv2.imwrite(str(folder / "d.png"), np.full((90, 30, 3), 5, np.uint8))
    (folder / "bad.png").write_bytes(b"no picture")
    boxes = [[[1, 2, 30, 40]], [], [], [[1, 2, 30, 40], [5, 5, 9, 9]], [[3, 3, 20, 80]] * 9]
    options = {"model": model, "boxes": boxes, "batch": 2, "pyramid": (0.9, 1.0)}
    with pytest.warns(UserWarning, match=r"bad\.png"):
        plain, ahead = infer(folder, **options, readers=0), infer(folder, **options, readers=readers)
    assert [result.name for result in plain] == [result.name for result in ahead] and plain.failures == ahead.failures
    assert [len(result) for result in ahead] == [1, 0, 2, 9]
    for a, b in zip(plain, ahead, strict=True):
        np.testing.assert_array_equal(a.keypoints, b.keypoints)


def test_no_reader_is_left_when_inference_stops(model, folder, monkeypatch):
    def readers() -> list[str]:
        return [thread.name for thread in threading.enumerate() if "reader" in thread.name]

    monkeypatch.setattr("cpm_fast.inference.parts.belief_to_parts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        infer(folder, model=model, batch=1, readers=2)
    assert readers() == []
    with pytest.raises(ValueError, match="must touch"):
        infer([folder / "a.png"] * 9, model=model, boxes=[[[900, 900, 950, 950]]] * 9, readers=2)
    assert readers() == []


def interrupted(*_args):
    raise KeyboardInterrupt


def test_every_result_says_what_took_its_time(model, folder):
    for result in infer(folder, model=model, batch=2, flip=True):
        timing = result.timing
        assert 0 < timing.decode < 9 and 0 < timing.crop < 9 and 0 < timing.network < 9 and 0 < timing.peaks < 9


def test_the_model_is_left_as_it_was(picture):
    model = CPM(CONFIG).train()
    frozen = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)).eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    threads = torch.get_num_threads()
    infer(picture, model=model, threads=2)
    assert [module.training for module in model.modules()] == modes and not frozen.training
    assert torch.get_num_threads() == threads
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match="touch"):
        infer(picture, model=model, boxes=[900, 900, 950, 950], threads=2)
    assert torch.get_num_threads() == threads and model.training


def test_threads_are_set_for_the_duration(picture, monkeypatch):
    model, seen = Dots(), []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda *args: (seen.append(wanted_threads()), forward(*args))[1])
    infer(picture, model=model, threads=2)
    assert seen == [2]


def test_belief_maps_are_every_stage_at_factor_1(model, picture):
    plain = infer(picture, model=model, belief_maps=True)[0].belief_maps
    among = infer(picture, model=model, belief_maps=True, pyramid=(0.8, 1.0), flip=True, batch=3)[0].belief_maps
    assert plain.shape == (1, 2, 15, 8, 8) and plain.dtype == np.float32
    np.testing.assert_allclose(plain, among, atol=1e-5)
    none = infer(picture, model=model, belief_maps=True, boxes=np.empty((0, 4)))[0]
    assert none.belief_maps.shape == (0, 2, 15, 8, 8)
    assert infer(picture, model=model)[0].belief_maps is None


def test_a_network_without_background(picture):
    model = CPM(dataclasses.replace(CONFIG, background=False)).eval()
    result = infer(picture, model=model, belief_maps=True)[0]
    assert result.keypoints.shape == (1, 14, 2) and result.belief_maps.shape == (1, 2, 14, 8, 8)
    assert result.plot_stages().ndim == 3


def test_model_by_path(model, picture, tmp_path):
    path = tmp_path / "net.safetensors"
    from cpm_fast.model.files import save_model

    save_model(model, path)
    by_path = infer(picture, model=path, device="cpu")
    np.testing.assert_array_equal(by_path[0].keypoints, infer(picture, model=model)[0].keypoints)
    with pytest.raises(FileNotFoundError, match="no-such-weights"):
        infer(picture, model="no-such-weights")


def test_progress_can_be_forced(model, picture, capsys):
    infer([picture] * 2, model=model, progress=True)
    assert "infer" in capsys.readouterr().err
    infer([picture] * 20, model=model)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("box", [[-500, -500, 1, 1], [-1e6, -1e6, 1e6, 1e6], [3, 3, 3.001, 3.001]], ids=str)
def test_boxes_partly_outside_huge_or_tiny_are_fine(model, box):
    result = infer(GREY, model=model, boxes=box)[0]
    assert np.isfinite(result.keypoints).all()


def test_broken_weights_do_not_raise(picture):
    model = CPM(CONFIG).eval()
    for parameter in model.parameters():
        parameter.data.fill_(float("nan"))
    result = infer(picture, model=model)[0]
    assert np.isnan(result.keypoints).all() and np.isnan(result.scores).all()
    assert (result.plot() == picture).all()
