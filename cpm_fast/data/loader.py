"""The path from datasets to batches: order and augmentation are functions of seed, epoch and sample in any process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from cpm_fast.config import NetworkConfig
from cpm_fast.data.augment import Draw, box_matrix, draw
from cpm_fast.data.effects import altered
from cpm_fast.data.regions import view
from cpm_fast.data.sample import Dataset, Sample
from cpm_fast.model.crops import warp
from cpm_fast.recipes import AugmentationConfig
from cpm_fast.roi import transform
from cpm_fast.system.interrupt import leave_interrupts_to_parent

# On two cores the compact preset trains 12 % faster for it.
WORKER_NICENESS = 10
# A loader process keeps samples up to this: 270 pictures of 400 x 400 pixels. Decoding was 8 % of the mouse's training.
KEPT_BYTES = 128 << 20


Array = TypeVar("Array", np.ndarray, torch.Tensor)


@dataclass(frozen=True)
class Item(Generic[Array]):
    """A training sample in NumPy; for a batch, in PyTorch, every shape begins with N.

    Args:
        crops: [H, W, 3] uint8 BGR.
        parts_box: [K, P, 2] float32 box pixels of K people, the subject first; parts that are not drawn are 0.
        drawn: [K, P] bool: labeled and inside the picture, so a target has its peak.
        known: [K, P] bool: labeled (in the picture or not), so the part's map is known.
        center_box: [2] float32, the center map's peak, box pixels.
    """

    crops: Array
    parts_box: Array
    drawn: Array
    known: Array
    center_box: Array


@dataclass(frozen=True)
class Batch(Item[torch.Tensor]):
    """N training samples.

    Args:
        unreadable: one message for every sample that could not be read and is left out.
    """

    unreadable: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """Return the same batch with its tensors on a device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)
        }
        return replace(self, **moved)


def prepare(sample: Sample, network: NetworkConfig, drawn: Draw, other: Sample | None = None) -> Item[np.ndarray]:
    """Cut, scale, turn and mirror one sample, its parts and its neighbors' alike.

    A part outside the picture is not drawn, as released. The center map's peak is at the region's center, which may be
    off, as it is in inference.

    Args:
        sample: the sample, which is not changed.
        network: that it becomes an input of.
        drawn: the random changes.
        other: another sample, for changes that need its picture; None leaves them out.
    """
    size = network.input_size
    seen = view(sample, network.margin, drawn)
    roi, (left, top, right, bottom) = seen.roi, seen.bounds
    matrix = box_matrix(roi, size, drawn)
    people = np.concatenate([sample.parts_image[None], sample.others_image.reshape(-1, len(network.skeleton), 2)])
    known = np.isfinite(people).all(axis=2)  # [K, P]
    known[0] &= sample.labeled
    points = np.nan_to_num(people)
    inside = ((points >= (left, top)) & (points < (right, bottom))).all(axis=2)
    parts_box = transform(matrix, points)
    visible = known & inside
    # The picture that there is begins at its own pixel 0.
    offset = np.hstack([matrix[:, :2], transform(matrix, np.array([left, top], float))[:, None]])
    crop = warp(sample.image[top:bottom, left:right], offset, size, network.padding_value)
    crop = altered(crop, parts_box, visible, network.skeleton, drawn, other)
    if drawn.flip:
        mirror = list(network.skeleton.mirror)
        parts_box, visible, known = parts_box[:, mirror], visible[:, mirror], known[:, mirror]
    return Item(
        crops=crop,
        parts_box=np.where(visible[..., None], parts_box, 0).astype(np.float32),
        drawn=visible,
        known=known,
        center_box=(transform(matrix, np.array(roi.center)) + drawn.center_error).astype(np.float32),
    )


class TrainingItems(torch.utils.data.Dataset[Item[np.ndarray] | str]):
    """Items of several datasets one after another, by (epoch, index); one that can't be read comes as a message."""

    def __init__(
        self, datasets: Sequence[Dataset], network: NetworkConfig, augmentation: AugmentationConfig, seed: int
    ) -> None:
        self.datasets = datasets
        self.network = network
        self.augmentation = augmentation
        self.seed = seed
        self.ends = np.cumsum([len(dataset) for dataset in datasets])
        # By index: the first samples that were read, so that few are decoded once.
        self.kept: dict[int, Sample] = {}
        self.room = KEPT_BYTES

    def __len__(self) -> int:
        return int(self.ends[-1])

    def sample(self, index: int) -> Sample:
        if index in self.kept:
            return self.kept[index]
        which = int(np.searchsorted(self.ends, index, side="right"))
        start = int(self.ends[which - 1]) if which else 0
        sample = self.datasets[which][index - start]
        if sample.image.nbytes <= self.room:
            self.room -= sample.image.nbytes
            self.kept[index] = sample
        return sample

    def other(self, drawn: Draw) -> Sample | None:
        """Return the other sample that a draw needs; None if it needs none, or it can't be read."""
        if not drawn.needs_other:
            return None
        try:
            return self.sample(int(drawn.other * len(self)))
        except (ValueError, OSError):
            # Its failure is reported at its own turn.
            return None

    def __getitem__(self, key: tuple[int, int]) -> Item[np.ndarray] | str:
        epoch, index = key
        random = np.random.default_rng((self.seed, epoch, index))
        try:
            drawn = draw(self.augmentation, random)
            return prepare(self.sample(index), self.network, drawn, self.other(drawn))
        except (ValueError, OSError) as error:
            return f"sample {index} left out: {error}"

    def collate(self, items: Sequence[Item[np.ndarray] | str]) -> Batch:
        """Stack items; see `collate`."""
        return collate(items, self.network)


class ShuffledBatches(Sampler[list[tuple[int, int]]]):
    """A sampler of batches of (epoch, index) over some steps; every epoch has its own permutation, its rest dropped.

    Process `rank` of `world` gets every world-th index of each batch.
    """

    def __init__(
        self, count: int, batch: int, seed: int, first_step: int, last_step: int, rank: int = 0, world: int = 1
    ) -> None:
        self.count, self.batch, self.seed = count, batch, seed
        self.first_step, self.last_step = first_step, last_step
        self.rank, self.world = rank, world
        self.steps_per_epoch = steps_per_epoch(count, batch)

    def __len__(self) -> int:
        return max(0, self.last_step - self.first_step)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order, order_epoch = np.empty(0, np.int64), -1
        for step in range(self.first_step, self.last_step):
            epoch, place = divmod(step, self.steps_per_epoch)
            if epoch != order_epoch:
                order, order_epoch = np.random.default_rng((self.seed, epoch)).permutation(self.count), epoch
            chosen = order[place * self.batch : (place + 1) * self.batch]
            yield [(epoch, int(index)) for index in chosen[self.rank :: self.world]]


def steps_per_epoch(count: int, batch: int) -> int:
    """Return the number of whole batches of an epoch, at least one."""
    return max(1, count // batch)


def blank_batch(network: NetworkConfig, count: int) -> Batch:
    """Return a batch of blank samples: black, with nobody in them, and nothing known."""
    people = (count, 1, network.parts)
    return Batch(
        crops=torch.zeros(count, *network.input_size, 3, dtype=torch.uint8),
        parts_box=torch.zeros(*people, 2),
        drawn=torch.zeros(people, dtype=torch.bool),
        known=torch.zeros(people, dtype=torch.bool),
        center_box=torch.zeros(count, 2),
    )


def collate(items: Sequence[Item[np.ndarray] | str], network: NetworkConfig) -> Batch:
    """Stack items; people are padded to the largest group with ones that have no parts.

    A batch of nothing but messages has no samples.
    """
    good = [item for item in items if isinstance(item, Item)]
    unreadable = tuple(item for item in items if isinstance(item, str))
    if not good:
        return replace(blank_batch(network, 0), unreadable=unreadable)
    people = max(len(item.parts_box) for item in good)

    def padded(array: np.ndarray, value: float | bool) -> np.ndarray:
        room = np.full((people - len(array), *array.shape[1:]), value, array.dtype)
        return np.concatenate([array, room])

    return Batch(
        crops=torch.from_numpy(np.stack([item.crops for item in good])),
        parts_box=torch.from_numpy(np.stack([padded(item.parts_box, 0) for item in good])),
        drawn=torch.from_numpy(np.stack([padded(item.drawn, False) for item in good])),
        known=torch.from_numpy(np.stack([padded(item.known, True) for item in good])),
        center_box=torch.from_numpy(np.stack([item.center_box for item in good])),
        unreadable=unreadable,
    )


class BatchItems(Protocol):
    """Items by (epoch, index), with a method to stack them."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: tuple[int, int]) -> Any: ...
    def collate(self, items: Any) -> Any: ...


def training_batches(
    items: BatchItems,
    batch: int,
    seed: int,
    first_step: int,
    last_step: int,
    workers: int,
    rank: int = 0,
    world: int = 1,
) -> DataLoader[Any]:
    """Yield the batches of the steps from `first_step` to below `last_step`; the same for any number of workers.

    Process `rank` of `world` gets its share of each.
    """
    return DataLoader(
        items,  # type: ignore[arg-type]
        batch_sampler=ShuffledBatches(len(items), batch, seed, first_step, last_step, rank, world),
        num_workers=workers,
        collate_fn=items.collate,
        worker_init_fn=_start_worker,
        prefetch_factor=4 if workers else None,
    )


def _start_worker(_worker: int) -> None:
    """Set a worker to one thread of low priority: a loader beside a step on the CPU would stall all its threads."""
    cv2.setNumThreads(0)
    if hasattr(os, "nice"):
        os.nice(WORKER_NICENESS)
    leave_interrupts_to_parent()
