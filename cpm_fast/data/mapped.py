"""A view of a dataset with another skeleton, whose parts are matched by name."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np

from cpm_fast.data.own_skeleton import alike_apart
from cpm_fast.data.sample import Dataset, Sample
from cpm_fast.skeleton import Skeleton


class Mapped:
    """The samples of a dataset with the parts of a skeleton, in its order; a part that the dataset lacks is unlabeled.

    Args:
        dataset: of any skeleton that shares a part.
        skeleton: of the view.

    Raises:
        ValueError: they share no part.
    """

    def __init__(self, dataset: Dataset, skeleton: Skeleton) -> None:
        self.dataset = dataset
        self.skeleton = skeleton
        order = np.array(skeleton.order_from(dataset.skeleton.names))
        if order.max() < 0:
            raise ValueError(
                f"{dataset.name}: parts must be some of the network's {list(skeleton.names)}, "
                f"got {list(dataset.skeleton.names)}; letters must be of the same case"
            )
        self.missing = tuple(name for name, place in zip(skeleton.names, order, strict=True) if place < 0)
        others = [name for name in dataset.skeleton.names if name not in skeleton.names]
        for part, other in alike_apart([self.missing, others]):
            warnings.warn(
                f"{dataset.name}: part {other!r} is not the network's {part!r}, which counts as unlabeled; if they are "
                "one, give them one name",
                stacklevel=3,
            )
        self._order, self._there = order, order >= 0

    @property
    def name(self) -> str:
        return self.dataset.name

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        there, order = self._there, self._order
        occluded = sample.occluded
        others = sample.others_image.reshape(-1, len(self.dataset.skeleton), 2)
        return replace(
            sample,
            parts_image=np.where(there[:, None], sample.parts_image[order], np.nan),
            labeled=there & sample.labeled[order],
            occluded=None if occluded is None else there & occluded[order],
            others_image=np.where(there[:, None], others[:, order], np.nan),
        )


def mapped(dataset: Dataset, skeleton: Skeleton) -> Dataset:
    """Return a dataset with the parts of a skeleton: itself if it has them, in that order.

    Raises:
        ValueError: they share no part.
    """
    return dataset if dataset.skeleton.names == skeleton.names else Mapped(dataset, skeleton)
