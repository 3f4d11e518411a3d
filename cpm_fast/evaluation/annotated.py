"""The annotated subjects of a dataset for average precision, including those that are no samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cpm_fast.data.formats.coco import CocoKeypoints, Unsampled
from cpm_fast.data.sample import Dataset, Subset
from cpm_fast.evaluation.oks import ScoredSubjects
from cpm_fast.skeleton import Skeleton


def with_unsampled(
    truth: ScoredSubjects, dataset: Dataset, indices: Sequence[int], names: Sequence[str], skeleton: Skeleton
) -> tuple[ScoredSubjects, dict[str, str]]:
    """Add the annotations that average precision counts to the samples of a COCO file.

    These are crowds, people of whom nothing is labeled, people who can't be used as samples, and images without people;
    of images with a sample that could not be read, nothing. For a part of a file (`hold_out`) they are those of the
    samples' images, in which people who are not among the samples are ignored. Other datasets have nothing to add.

    Args:
        truth: of the M samples that were read, [M, P, 2].
        dataset: of the samples.
        indices: [M] of the samples in the dataset.
        names: [M] of their pictures.
        skeleton: the P parts.

    Returns:
        All annotated subjects, and the name of every image by what `ScoredSubjects.images` calls it.
    """
    images = dict(zip(truth.images, names, strict=True))
    source, places = _source(dataset)
    if not isinstance(source, CocoKeypoints):
        return truth, images
    others, read = list(source.unsampled), {places[index] for index in indices}
    if len(places) == len(source):
        unread = {subject.image for place, subject in enumerate(source.subjects) if place not in read}
        images = {str(key): name for key, name in source.images.items() if name not in unread}
    else:
        unread_people = [subject for place, subject in enumerate(source.subjects) if place not in read]
        others += [
            Unsampled(subject.identity[0], subject.parts_image, np.nan, _sides(subject.box_image), True)
            for subject in unread_people
            if subject.identity is not None
        ]
    others = [other for other in others if str(other.image) in images]
    order = skeleton.order_from(source.skeleton.names)
    parts = np.array([other.parts_image[order] for other in others]).reshape(-1, len(skeleton), 2)
    unknown = [(np.nan,) * 4] * len(truth.images)
    return ScoredSubjects(
        [*truth.images, *(str(other.image) for other in others)],
        np.concatenate([truth.parts_image, parts]),
        np.concatenate([truth.values, [other.area for other in others]]),
        np.array([*unknown, *(other.box for other in others)]),
        np.array([False] * len(truth.images) + [other.ignored for other in others]),
        np.array([False] * len(truth.images) + [other.crowd for other in others]),
    ), images


def coco_source(dataset: Dataset) -> CocoKeypoints | None:
    """Return the COCO file that all samples of a dataset are of; None of another dataset, or a part of a file."""
    return dataset if isinstance(dataset, CocoKeypoints) else None


def _source(dataset: Dataset) -> tuple[Dataset, Sequence[int]]:
    """Return the dataset that samples come from, and their indices in it."""
    places: Sequence[int] = range(len(dataset))
    while isinstance(dataset, Subset):
        places = [dataset.indices[place] for place in places]
        dataset = dataset.dataset
    return dataset, places


def _sides(box: tuple[float, float, float, float] | None) -> tuple[float, float, float, float]:
    """Return left, top, width and height."""
    left, top, right, bottom = box or (0.0, 0.0, 0.0, 0.0)
    return left, top, right - left, bottom - top
