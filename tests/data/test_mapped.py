"""Datasets of other skeletons: parts are matched by name, and missing parts are unlabeled."""

from dataclasses import replace

import numpy as np
import pytest

from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.data.mapped import Mapped, mapped
from cpm_fast.skeleton import FLIC, LSP, MPII, Skeleton

FIGURES = DrawnFigures(12)


def test_parts_go_by_name():
    dataset = mapped(FIGURES, MPII)
    assert isinstance(dataset, Mapped) and dataset.missing == ("pelvis", "thorax")
    assert dataset.name == "synthetic" and len(dataset) == 12
    crowded = 0
    for index in range(12):
        ours, theirs = dataset[index], FIGURES[index]
        np.testing.assert_array_equal(ours.image, theirs.image)
        assert ours.others_image.shape == (len(theirs.others_image), 16, 2)
        crowded += len(ours.others_image) > 0
        for part, name in enumerate(MPII.names):
            if name in dataset.missing:
                assert not ours.labeled[part] and np.isnan(ours.parts_image[part]).all()
                assert np.isnan(ours.others_image[:, part]).all()
            else:
                place = LSP.index(name)
                assert ours.labeled[part] == theirs.labeled[place]
                np.testing.assert_array_equal(ours.parts_image[part], theirs.parts_image[place])
                np.testing.assert_array_equal(ours.others_image[:, part], theirs.others_image[:, place])
    assert crowded


def test_the_same_parts_are_left_alone():
    assert mapped(FIGURES, Skeleton("other name", LSP.names)) is FIGURES


def test_there_and_back_is_the_same_where_both_have_a_part():
    back = mapped(mapped(FIGURES, FLIC), LSP)
    sample, wanted = back[0], FIGURES[0]
    for part, name in enumerate(LSP.names):
        assert sample.labeled[part] == (wanted.labeled[part] and name in FLIC.names)


def test_no_part_in_common():
    with pytest.raises(ValueError, match=r"synthetic: parts must be some of the network's .'nose'., got"):
        mapped(FIGURES, Skeleton("one", ("nose",)))


def test_what_is_no_part_is_kept():
    """Head length, area and the other fields belong to the subject, for any names of its parts."""

    class Measured:
        name, skeleton = "measured", LSP

        def __len__(self):
            return 1

        def __getitem__(self, index):
            told = {"box_image": (1.0, 2.0, 3.0, 4.0), "head_length": 31.5, "area": 1234.5, "identity": (785, 442619)}
            return replace(FIGURES[index], **told)

    sample = mapped(Measured(), MPII)[0]
    assert (sample.box_image, sample.head_length) == ((1.0, 2.0, 3.0, 4.0), 31.5)
    assert (sample.area, sample.identity) == (1234.5, (785, 442619))


def test_a_name_in_another_case_is_told():
    other = Skeleton("other", ("Head top", *LSP.names[1:]))
    with pytest.warns(UserWarning, match="synthetic: part 'head_top' is not the network's 'Head top', which counts as"):
        dataset = mapped(FIGURES, other)
    assert dataset.missing == ("Head top",)
