"""The report: one self-contained page with the evaluation's numbers and pictures of the right samples."""

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import torch

from cpm_fast.config import NetworkConfig
from cpm_fast.evaluation import Rule, evaluate, evaluate_predictions
from cpm_fast.evaluation.page import report_page
from cpm_fast.evaluation.pictures import part_curves, strip, truth_and_prediction, wrong_parts
from cpm_fast.model.cpm import CPM
from cpm_fast.skeleton import LSP, Skeleton
from support.annotated import FLY, SMALL, Figures


class Page(HTMLParser):
    """The open tags, references, tables and text of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.open, self.sources, self.text, self.rows = [], [], "", []
        self.feed(page.decode())
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag != "script"
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("img", "meta"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.text += "\n"

    def handle_decl(self, decl):
        assert decl == "doctype html"

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)

    def pictures(self) -> list[np.ndarray]:
        data = [
            base64.b64decode(re.fullmatch("data:image/(?:png|jpeg);base64,(.*)", source)[1]) for source in self.sources
        ]
        return [cv2.imdecode(np.frombuffer(bytes_, np.uint8), cv2.IMREAD_COLOR) for bytes_ in data]


def off(dataset: Figures, moved: dict[int, int]) -> np.ndarray:
    """Return the truth, with this many parts of these samples moved by 100 px."""
    predicted = dataset.parts_image.copy()
    for sample, parts in moved.items():
        predicted[sample, :parts] += 100
    return predicted


def test_the_page_of_predictions():
    dataset = Figures(5, names=["a", "<b>", "c & d", "e", "f"], broken=(4,))
    with pytest.warns(UserWarning):
        result = evaluate_predictions(off(dataset, {0: 1, 1: 14, 2: 3}), dataset)
    page = Page(report_page(result, dataset))
    pictures = page.pictures()
    assert len(pictures) == 2 + 4, "two of curves, one of each sample, and none of stages"
    assert all(picture is not None for picture in pictures)
    captions = re.findall(r"(\S[^:\n]*): (\d+) of 14 found", page.text)
    assert captions == [("<b>", "0"), ("c & d", "11"), ("a", "13"), ("e", "14")], "the worst first"
    assert "farthest off: head top, neck, right shoulder" in page.text
    head, row = page.rows[:2]
    assert head[:3] == ["mean", "AUC", "head top"] and row[0] == "stage 1"
    assert row[1] == f"{100 * (56 - 18) / 56:.1f}" == "67.9"
    neck = next(row for row in page.rows if row[0] == "neck")
    assert neck == ["neck", "50.0", f"{2 * 100 * 2**0.5 / 4:.1f}", f"{100 * 2**0.5 / 2:.1f}", "4"]
    assert "Unreadable: 1 of 5 samples." in page.text and "Stages at work" not in page.text
    assert report_page(result, dataset) == report_page(result, dataset), "the same each time"


def test_the_page_of_a_network():
    dataset = Figures(4)
    torch.manual_seed(0)
    model = CPM(NetworkConfig(**SMALL)).eval()
    result = evaluate(model, dataset)
    page = Page(report_page(result, dataset, model, ["more <numbers>"]))
    assert len(page.pictures()) == 2 + 4 + 3 and "Stages at work" in page.text and "more <numbers>" in page.text
    assert [f"figure {i}, " in page.text for i in range(4)].count(True) == 3
    assert "1 of 4 from the worst" in page.text and "4 of 4 from the worst" in page.text
    observed = evaluate(model, dataset, rule=Rule("pckh", "torso", centric="observer"))
    text = Page(report_page(observed, dataset, model)).text
    assert "PCKh@0.5" in text and "observer-centric" in text


def test_the_page_of_nothing():
    """Without reference length, pairs or a labeled part, the page has dashes, and no pictures of samples."""
    dataset = Figures(2, Skeleton("line", ("a", "b")))
    dataset.parts_image[:] = np.nan
    result = evaluate_predictions(np.zeros((2, 2, 2)), dataset)
    page = Page(report_page(result, dataset))
    assert "nothing could be scored" in page.text and "Worst samples" not in page.text
    assert ["a", "-", "-", "-", "0"] in page.rows and result.worst(5) == []


def test_wrong_parts_and_the_worst_samples_by_hand():
    dataset = Figures(3, without=(2,))
    predicted = off(dataset, {0: 2, 1: 2, 2: 14})
    predicted[:2, 1] += 50
    predicted[0, 5] = np.nan
    result = evaluate_predictions(predicted, dataset)
    assert wrong_parts(result, 0) == [5, 1, 0], "what is not predicted is farthest off"
    assert wrong_parts(result, 1) == [1, 0]
    assert result.worst(5) == [0, 1] and result.worst(1) == [0], "without a reference length there is no rank"


def test_truth_stands_left_and_prediction_right_with_lines_to_the_truth():
    dataset = Figures(1, FLY)
    dataset.images[:] = 0
    dataset.parts_image[0] = [[30, 40], [60, 40], [45, 80]]
    predicted = dataset.parts_image.copy()
    result = evaluate_predictions(predicted, dataset)
    left, right = np.split(truth_and_prediction(result, 0, dataset[0])[:, [*range(300), *range(306, 606)]], 2, axis=1)
    assert np.array_equal(left, right)
    predicted[0, 2] = 30, 60
    result = evaluate_predictions(predicted, dataset, rule=Rule(threshold=0.01))
    left, right = np.split(truth_and_prediction(result, 0, dataset[0])[:, [*range(300), *range(306, 606)]], 2, axis=1)
    # Low 30, 40 and high 60, 80: 1.2 x 40 = 48 px about (45, 60) become 300.
    middle, truth = ((np.array(point) - (45, 60)) * 300 / 48 + 149.5 for point in ((37.5, 70), (45, 80)))
    red = (right[..., 2] > 200) & (right[..., :2] < 120).all(axis=2)
    for x, y in (middle, truth + np.array([5, 0])):
        assert red[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3].any()
    assert not ((left[..., 2] > 200) & (left[..., :2] < 120).all(axis=2)).any()


def test_parts_far_away_do_no_harm():
    dataset = Figures(1)
    predicted = dataset.parts_image + np.array([1e12, -1e12])
    assert truth_and_prediction(evaluate_predictions(predicted, dataset), 0, dataset[0]).shape == (300, 606, 3)


def test_a_strip_has_the_stages_of_the_protocol_s_region():
    dataset = Figures(1)
    model = CPM(NetworkConfig(**SMALL)).eval()
    pictures = [
        strip(evaluate(model, dataset, protocol=protocol), 0, dataset[0], model) for protocol in ("crop", "lsp")
    ]
    assert all(picture.shape[1] > 3 * 300 for picture in pictures) and not np.array_equal(*pictures)


def test_many_curves_have_no_legend():
    many = Skeleton("many", tuple(f"part {i}" for i in range(25)))
    dataset = Figures(2, many)
    picture = part_curves(evaluate_predictions(dataset.parts_image, dataset))
    few = part_curves(evaluate_predictions(Figures(2, LSP).parts_image, Figures(2, LSP)))
    assert picture.startswith(b"\x89PNG") and few.startswith(b"\x89PNG")
