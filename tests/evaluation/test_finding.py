"""Scores of whole pictures: regions by their overlap, and key points of found regions beside those of true ones."""

import math
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from cpm_fast.config import NetworkConfig
from cpm_fast.data.sample import Sample
from cpm_fast.evaluation.finding import whole_pictures
from cpm_fast.evaluation.finding.whole_pictures import evaluate_finding, matched_regions
from cpm_fast.evaluation.rule import Rule
from cpm_fast.inference.parts import Found, Sighting
from cpm_fast.model.cpm import CPM
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP
from support.annotated import SMALL

SIDE = 50.0
CROWD = (160.0, 10.0, 190.0, 40.0)
# Centers of the subjects of three pictures; the second can't be read.
PLACES = {"a.png": [(40, 40), (120, 40)], "torn.png": [(30, 30)], "b.png": [(60, 60)]}


class Scenes:
    """One sample per subject, with the other subjects of its picture, and a crowd."""

    name, skeleton = "scenes", LSP

    def __init__(self, area=300.0):
        self.subjects = [(name, at) for name, places in PLACES.items() for at in places]
        self.area = area

    def __len__(self):
        return len(self.subjects)

    def parts(self, index):
        return np.random.default_rng(index).uniform(-15, 15, (14, 2)) + self.subjects[index][1]

    def __getitem__(self, index):
        name, at = self.subjects[index]
        if name == "torn.png":
            raise OSError("torn.png is torn")
        others = [self.parts(i) for i, (other, _) in enumerate(self.subjects) if other == name and i != index]
        # A person who is no sample.
        others.append(np.full((14, 2), np.nan))
        others[-1][:3] = [(200, 80), (210, 90), (205, 85)]
        image = np.full((100, 220, 3), index, np.uint8)
        marks = {"others_image": np.array(others), "ignored_image": np.array([CROWD]), "area": self.area}
        return Sample(image, self.parts(index), np.ones(14, bool), Roi(at, SIDE), name, **marks)


def exact(engine, settings, pictures) -> Iterator:
    """Return a network that is right for a subject near the region's middle, and far off if there is none."""
    scenes = Scenes()
    for tag, cuts in pictures:
        found = []
        for roi in [one.roi for one in cuts.sightings]:
            own = [i for i, (name, _) in enumerate(scenes.subjects) if name == tag[1].name]
            nearest = min(own, key=lambda i: math.dist(scenes.subjects[i][1], roi.center))
            off = 0 if math.dist(scenes.subjects[nearest][1], roi.center) < 30 else 1000
            box = roi.to_box(scenes.parts(nearest) + off, engine.config.input_size)
            found.append(Found(box[None], np.full((1, 14), 0.8), None, 0, 0, 0))
        yield tag, found


class Looks:
    """A finder of a.png's first subject and a false region, one in the crowd, one on the other; b's is misplaced."""

    def sightings(self, engine, settings, image):
        rois = [Roi((60 + 0.25 * SIDE, 60), SIDE)]
        if image[0, 0, 0] == 0:
            rois = [Roi((40, 40), SIDE), Roi((40, 90), 20), Roi((175, 25), 30), Roi((205, 85), 20)]
        return [Sighting(roi) for roi in rois]


@pytest.fixture
def score(monkeypatch):
    def run(**options):
        monkeypatch.setattr(whole_pictures, "find_parts", exact)
        with pytest.warns(UserWarning, match="sample 2 left out: torn.png is torn"):
            return evaluate_finding(CPM(NetworkConfig(**SMALL)), Looks(), Scenes(), finder="two", **options)

    return run


def test_regions_and_key_points(score):
    found = score()
    first, second = found.regions
    assert (first.hits, first.missed, first.false) == (2, 1, 1)
    assert (second.hits, second.missed, second.false) == (1, 2, 2)
    assert first.recall == first.precision == pytest.approx(2 / 3) and second.precision == pytest.approx(1 / 3)
    assert (found.pictures, found.subjects, found.unreadable) == (2, 3, 1)
    assert (found.found.matched, found.true.matched, found.true.every) == (1, 1, 1)
    assert found.found.every == pytest.approx(2 / 3)
    table = found.table()
    assert "subjects of scenes in 2 pictures, found by two" in table and "unreadable: 1 samples" in table
    rows = {line[:28].strip(): line[28:].split() for line in table.splitlines()}
    assert rows["recall"] == ["66.7", "33.3"] and rows["missed"] == ["1", "2"] and rows["false"] == ["1", "2"]
    assert rows["PCK@0.2 of the 2 found"] == ["100.0", "100.0"] and rows["PCK@0.2 of all 3"] == ["66.7", "100.0"]
    counts = {"hits": 2, "missed": 1, "false": 1}
    rates = {"recall": 2 / 3, "precision": 2 / 3}
    assert found.to_dict()["regions"][0] == {"overlap": 0.5, **counts, **rates}


def test_average_precision_of_whole_pictures(score):
    pytest.importorskip("pycocotools", reason='OKS needs pip install -e ".[eval]"')
    found = score(oks=True)
    assert found.found.precision.numbers["AR"] == pytest.approx(2 / 3)
    assert found.true.precision.numbers["AR"] == found.true.precision.numbers["AP"] == 1
    assert 0 < found.found.precision.numbers["AP"] < 0.7
    assert "AP (COCO's OKS)" in found.table() and found.to_dict()["true_regions"]["average_precision"]["AP"] == 1


def test_average_precision_that_is_not_possible_is_told(score, monkeypatch):
    pytest.importorskip("pycocotools", reason='OKS needs pip install -e ".[eval]"')
    monkeypatch.setattr(Scenes.__init__, "__defaults__", (None,))
    found = score()
    assert found.found.precision is None and "needs the area of every subject" in found.left_out
    assert "average precision is left out: OKS needs the area" in found.table()
    with pytest.raises(ValueError, match="needs the area of every subject"):
        score(oks=True)


def test_nobody_is_found(score, monkeypatch):
    monkeypatch.setattr(Looks, "sightings", lambda *_: [])
    found = score(rule=Rule(reference="pixel", threshold=3))
    assert found.regions[0].recall == 0 and math.isnan(found.regions[0].precision)
    assert math.isnan(found.found.matched) and found.found.every == 0 and found.to_dict()["found"]["matched"] is None


def test_the_network_stays_in_training(score, monkeypatch):
    model = CPM(NetworkConfig(**SMALL)).train()
    monkeypatch.setattr(whole_pictures, "find_parts", exact)
    with pytest.warns(UserWarning, match="torn"):
        evaluate_finding(model, Looks(), Scenes())
    assert model.training


def test_each_region_and_each_subject_once():
    true = [Roi((0, 0), 10), Roi((4, 0), 10)]
    # The first is matched with the one that it overlaps most, although the second fits only that one.
    assert matched_regions([Roi((3, 0), 10), Roi((5, 0), 10)], true, 0.5) == {0: 1}
    assert matched_regions([Roi((1, 0), 10), Roi((5, 0), 10)], true, 0.5) == {0: 0, 1: 1}
    assert matched_regions([], true, 0.5) == matched_regions(true, [], 0.5) == {}


def test_a_dataset_without_a_part_of_the_network():
    empty = SimpleNamespace(name="x", skeleton=SimpleNamespace(names=("tail",), order_from=lambda names: [-1]))
    with pytest.raises(ValueError, match=r"must share a part, the dataset has \['tail'\]"):
        evaluate_finding(CPM(NetworkConfig(**SMALL)), Looks(), empty)
