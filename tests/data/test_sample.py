"""Samples, subsets and held-out samples of a dataset."""

import numpy as np
import pytest

from cpm_fast.data.sample import Sample, Subset, hold_out
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP


class Numbers:
    """Samples named by their number, with a record of those that were read."""

    name = "numbers"
    skeleton = LSP

    def __init__(self, count: int) -> None:
        self.count = count
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        self.read.append(index)
        empty = np.empty((1, 1, 3), np.uint8)
        return Sample(empty, np.zeros((14, 2)), np.ones(14, bool), Roi((0, 0), 1), str(index))


def test_hold_out_takes_the_last():
    dataset = Numbers(10)
    first, last = hold_out(dataset, 3)
    assert [sample.name for sample in (first[i] for i in range(len(first)))] == list("0123456")
    assert [sample.name for sample in (last[i] for i in range(len(last)))] == list("789")
    assert (first.name, first.skeleton, last.name) == ("numbers", LSP, "numbers")


def test_hold_out_of_none_and_of_all_but_one():
    first, last = hold_out(Numbers(4), 0)
    assert (len(first), len(last)) == (4, 0)
    first, last = hold_out(Numbers(4), 3)
    assert (len(first), len(last)) == (1, 3)


@pytest.mark.parametrize("count", [-1, 4, 5])
def test_hold_out_rejects(count):
    with pytest.raises(ValueError, match=f"hold-out must be from 0 to 3 samples of numbers, got {count}"):
        hold_out(Numbers(4), count)


def test_subset_reads_lazily_and_in_its_own_order():
    dataset = Numbers(10)
    subset = Subset(dataset, [7, 2, 2])
    assert (len(subset), dataset.read) == (3, [])
    assert [subset[i].name for i in range(3)] == ["7", "2", "2"]
    assert dataset.read == [7, 2, 2]
    with pytest.raises(IndexError):
        subset[3]
    nested, _ = hold_out(subset, 1)
    assert [nested[i].name for i in range(len(nested))] == ["7", "2"]


def test_sample_has_no_neighbors_unless_told():
    sample = Numbers(1)[0]
    assert sample.others_image.shape == (0, 0, 2)
    assert sample.occluded is None
    assert (sample.box_image, sample.head_length, sample.area, sample.identity) == (None,) * 4
