"""Batches: a function of seed, epoch and sample, for any number of workers and any start."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpm_fast.config import preset
from cpm_fast.data import loader
from cpm_fast.data.augment import Draw, box_matrix
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.loader import (
    Batch,
    ShuffledBatches,
    TrainingItems,
    collate,
    prepare,
    steps_per_epoch,
    training_batches,
)
from cpm_fast.data.sample import Sample, Subset
from cpm_fast.recipes import AugmentationConfig
from cpm_fast.roi import Roi, transform
from cpm_fast.skeleton import LSP

NETWORK = replace(preset("compact"), input_size=(64, 64))
SEED = 5


def items(*datasets, seed: int = SEED) -> TrainingItems:
    return TrainingItems(datasets or [DrawnFigures(7), DrawnFigures(4, seed=1)], NETWORK, AugmentationConfig(), seed)


def batches(source: TrainingItems, first: int = 0, last: int = 6, workers: int = 0, batch: int = 3) -> list[Batch]:
    return list(training_batches(source, batch, SEED, first, last, workers))


def assert_same(a: Batch, b: Batch) -> None:
    for entry in fields(Batch):
        left, right = getattr(a, entry.name), getattr(b, entry.name)
        if isinstance(left, torch.Tensor):
            assert left.dtype == right.dtype and torch.equal(left, right), entry.name
        else:
            assert left == right, entry.name


class Broken:
    """Drawn figures, some of which can't be read."""

    name, skeleton = "broken", LSP

    def __init__(self, count: int, errors: dict[int, Exception]) -> None:
        self.figures, self.errors = DrawnFigures(count), errors

    def __len__(self) -> int:
        return len(self.figures)

    def __getitem__(self, index: int) -> Sample:
        if index in self.errors:
            raise self.errors[index]
        return self.figures[index]


@pytest.mark.parametrize("workers", [1, 2], ids=["one worker", "two workers"])
def test_workers_give_the_same_batches(workers):
    alone, together = batches(items()), batches(items(), workers=workers)
    assert len(alone) == len(together) == 6
    for a, b in zip(alone, together, strict=True):
        assert_same(a, b)


@pytest.mark.parametrize("first", [1, 2, 3, 4, 5, 6], ids=lambda first: f"from step {first}")
def test_a_start_in_the_middle_goes_on_with_the_same_batches(first):
    """An epoch has 3 steps: both a start within one and one at the border of two."""
    whole, rest = batches(items()), batches(items(), first=first)
    assert len(rest) == 6 - first
    for a, b in zip(whole[first:], rest, strict=True):
        assert_same(a, b)


def test_epochs_differ_in_order_and_in_augmentation():
    source = items(DrawnFigures(4))
    first, second = batches(source, 0, 1, batch=4)[0], batches(source, 1, 2, batch=4)[0]
    assert not torch.equal(first.crops, second.crops)
    assert not any(torch.equal(a, b) for a in first.crops for b in second.crops)


def test_another_seed_gives_other_crops():
    assert (items()[0, 0].crops != items(seed=6)[0, 0].crops).any()


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 99), st.integers(0, 3))
def test_every_epoch_is_a_permutation(count, batch, seed, epoch):
    batch = min(batch, count)
    per_epoch = steps_per_epoch(count, batch)
    assert per_epoch == count // batch
    chosen = list(ShuffledBatches(count, batch, seed, epoch * per_epoch, (epoch + 1) * per_epoch))
    assert len(chosen) == per_epoch and {len(keys) for keys in chosen} == {batch}
    keys = [key for keys in chosen for key in keys]
    assert {epoch_of for epoch_of, _ in keys} == {epoch}
    indices = [index for _, index in keys]
    assert len(set(indices)) == len(indices) == per_epoch * batch
    if count % batch == 0:
        assert sorted(indices) == list(range(count))


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 40), st.integers(0, 40))
def test_any_start_is_a_tail_of_the_whole(count, batch, first, length):
    batch = min(batch, count)
    whole = list(ShuffledBatches(count, batch, SEED, 0, first + length))
    assert list(ShuffledBatches(count, batch, SEED, first, first + length)) == whole[first:]


def test_orders_of_epochs_and_seeds_differ():
    def order(seed: int, epoch: int) -> list[int]:
        return [index for keys in ShuffledBatches(32, 8, seed, 4 * epoch, 4 * epoch + 4) for _, index in keys]

    orders = [order(seed, epoch) for seed in range(3) for epoch in range(3)]
    assert len({tuple(one) for one in orders}) == 9


def test_datasets_stand_one_behind_the_other():
    first, second = DrawnFigures(3), DrawnFigures(2, seed=1)
    source = items(first, second)
    assert len(source) == 5
    for index, wanted in enumerate([first[0], first[1], first[2], second[0], second[1]]):
        np.testing.assert_array_equal(source.sample(index).image, wanted.image)


def test_what_cannot_be_read_is_left_out_and_named():
    broken = Broken(4, {1: OSError("one.jpg: torn"), 2: ValueError("two.jpg: cut short")})
    found = batches(items(broken), 0, 1, batch=4)[0]
    assert len(found.crops) == len(found.parts_box) == len(found.center_box) == 2
    assert sorted(found.unreadable) == ["sample 1 left out: one.jpg: torn", "sample 2 left out: two.jpg: cut short"]
    whole = batches(items(DrawnFigures(4)), 0, 1, batch=4)[0]
    kept = [place for place, (_, index) in enumerate(next(iter(ShuffledBatches(4, 4, SEED, 0, 1)))) if index in (0, 3)]
    assert torch.equal(found.crops, whole.crops[kept])


@pytest.mark.parametrize("workers", [0, 1], ids=["no worker", "one worker"])
def test_a_batch_with_nothing_to_read_is_empty_and_says_why(workers):
    broken = Broken(2, {0: OSError("zero.jpg: torn"), 1: OSError("one.jpg: torn")})
    found = batches(items(broken), 0, 1, workers, batch=2)[0]
    assert [len(getattr(found, name)) for name in ("crops", "parts_box", "drawn", "known", "center_box")] == [0] * 5
    assert sorted(found.unreadable) == ["sample 0 left out: zero.jpg: torn", "sample 1 left out: one.jpg: torn"]


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_every_batch(world):
    whole = batches(items(), batch=5, last=4)
    shares = [list(training_batches(items(), 5, SEED, 0, 4, 0, rank, world)) for rank in range(world)]
    for step, together in enumerate(whole):
        for rank in range(world):
            assert torch.equal(shares[rank][step].crops, together.crops[rank::world])


@pytest.mark.parametrize(("room", "reads"), [(3, 3), (2, 4), (0, 6)], ids=["for all", "for two", "for none"])
def test_samples_are_read_once_as_far_as_there_is_room(monkeypatch, room, reads):
    figures, read = Broken(3, {}), []
    monkeypatch.setattr(loader, "KEPT_BYTES", room * figures[0].image.nbytes)
    monkeypatch.setattr(Broken, "__getitem__", lambda self, index: (read.append(index), self.figures[index])[1])
    source = items(figures)
    first, again = ([source.sample(index) for index in range(3)] for _ in range(2))
    assert len(read) == reads
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def test_a_bug_is_no_unreadable_sample():
    with pytest.raises(KeyError):
        batches(items(Broken(1, {0: KeyError("a bug")})), 0, 1, batch=1)


def pictured(parts: np.ndarray, labeled: np.ndarray | None = None, others: np.ndarray | None = None) -> Sample:
    """Return a gray picture of 100 x 80 with the given parts."""
    if others is None:
        others = np.empty((0, 0, 2))
    known = np.isfinite(parts).all(axis=1) if labeled is None else labeled
    return Sample(np.full((80, 100, 3), 90, np.uint8), parts, known, Roi((50, 40), 120), "gray", others_image=others)


def spread_parts() -> np.ndarray:
    return np.stack([np.linspace(10, 90, 14), np.linspace(10, 70, 14)], axis=1)


# The release counts a part as outside where x < 0, y < 0, x >= width or y >= height.
PLACES = {
    "first pixel": ((0, 0), True),
    "last pixel": ((99, 79), True),
    "just inside": ((99.9, 79.9), True),
    "left": ((-0.1, 40), False),
    "above": ((50, -0.1), False),
    "right": ((100, 40), False),
    "below": ((50, 80), False),
    "far away": ((5000, -5000), False),
}


@pytest.mark.parametrize(("point", "drawn"), PLACES.values(), ids=PLACES)
def test_a_part_outside_the_picture_is_known_but_not_drawn(point, drawn):
    parts = spread_parts()
    parts[3] = point
    item = prepare(pictured(parts), NETWORK, Draw())
    assert item.known.all()
    assert item.drawn[0].tolist() == [part != 3 or drawn for part in range(14)]
    if not drawn:
        assert item.parts_box[0, 3].tolist() == [0, 0]


@pytest.mark.parametrize("how", ["not a number", "flag"])
def test_an_unlabeled_part_is_neither_known_nor_drawn(how):
    parts, labeled = spread_parts(), np.arange(14) != 5
    if how == "not a number":
        parts[5], labeled = np.nan, np.ones(14, bool)
    item = prepare(pictured(parts, labeled), NETWORK, Draw())
    for flags in (item.known, item.drawn):
        assert flags[0].tolist() == [part != 5 for part in range(14)]
    assert np.isfinite(item.parts_box).all()


def test_parts_stand_where_the_matrix_puts_them():
    parts, drawn = spread_parts(), Draw(1.1, 20.0, (3.0, 1.0))
    sample = pictured(parts)
    wanted = transform(box_matrix(sample.roi, NETWORK.input_size, drawn), parts)
    item = prepare(sample, NETWORK, drawn)
    np.testing.assert_allclose(item.parts_box[0], wanted, atol=1e-4)
    assert item.parts_box.dtype == np.float32 and item.crops.shape == (64, 64, 3) and item.crops.dtype == np.uint8


def test_people_are_padded_to_the_largest_group():
    neighbor = spread_parts()
    neighbor[2] = np.nan
    group = prepare(pictured(spread_parts(), others=np.stack([neighbor, spread_parts() + 1])), NETWORK, Draw())
    alone = prepare(pictured(spread_parts()), NETWORK, Draw())
    batch = collate([alone, group], NETWORK)
    assert batch.parts_box.shape == (2, 3, 14, 2)
    assert batch.drawn[0].tolist() == [[True] * 14, [False] * 14, [False] * 14]
    assert batch.known[0].all(), "nobody has no unknown parts"
    assert batch.known[1, 1].tolist() == batch.drawn[1, 1].tolist() == [part != 2 for part in range(14)]
    assert torch.equal(batch.parts_box[0, 1:], torch.zeros(2, 14, 2))
    np.testing.assert_array_equal(batch.parts_box[1], group.parts_box)


def test_types_and_shapes_of_a_batch():
    batch = batches(items(), 0, 1)[0]
    people = batch.parts_box.shape[1]
    assert (batch.crops.shape, batch.crops.dtype) == ((3, 64, 64, 3), torch.uint8)
    assert (batch.parts_box.shape, batch.parts_box.dtype) == ((3, people, 14, 2), torch.float32)
    assert (batch.drawn.shape, batch.drawn.dtype) == ((3, people, 14), torch.bool)
    assert (batch.known.shape, batch.known.dtype) == ((3, people, 14), torch.bool)
    assert (batch.center_box.shape, batch.center_box.dtype) == ((3, 2), torch.float32)
    assert batch.unreadable == ()


def test_a_subset_may_be_trained_on():
    figures = DrawnFigures(6)
    source = items(Subset(figures, range(2, 5)))
    np.testing.assert_array_equal(source.sample(0).image, figures[2].image)
    assert len(batches(source, 0, 1)[0].crops) == 3
