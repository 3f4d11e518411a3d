"""Batches of scenes: composition is a function of seed, epoch and sample in any process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from cpm_fast.config import NetworkConfig
from cpm_fast.data.loader import TrainingItems
from cpm_fast.data.sample import Sample
from cpm_fast.data.scenes.compose import compose
from cpm_fast.data.scenes.material import Material
from cpm_fast.data.scenes.scene import Scene
from cpm_fast.recipes import AugmentationConfig
from cpm_fast.roi import Roi

# Number of other samples that are tried in place of one that can't be read.
TRIES = 5


@dataclass(frozen=True)
class SceneBatch:
    """N scenes.

    Args:
        crops: [N, H, W, 3] uint8 BGR.
        subjects_box: [N, K, 3] float32, x and y of a subject's middle and its side, box pixels; side 0: none.
        ignored_box: [N, J, 3] float32, the same of squares that do not count.
        doubtful: [N] bool: unlabeled subjects may be there.
        center_box: [N, 2] float32, not used: a finder has no center map.
        unreadable: one message for every sample that could not be read and is left out.
    """

    crops: torch.Tensor
    subjects_box: torch.Tensor
    ignored_box: torch.Tensor
    doubtful: torch.Tensor
    center_box: torch.Tensor
    unreadable: tuple[str, ...] = ()

    def to(self, device: torch.device) -> SceneBatch:
        """Return the same batch with its tensors on a device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)
        }
        return replace(self, **moved)


class SceneItems(torch.utils.data.Dataset[Scene | str]):
    """Scenes by (epoch, index), one for each sample of several datasets; one that can't be read comes as a message.

    Args:
        items: the samples, read by those of the pose networks' training.
        backgrounds: pictures without subjects, behind pasted ones or alone; may be none.
    """

    def __init__(self, items: TrainingItems, backgrounds: Sequence[np.ndarray] = ()) -> None:
        self.items, self.backgrounds = items, backgrounds
        self.datasets, self.network = items.datasets, items.network
        self.augmentation: AugmentationConfig = items.augmentation

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> Scene | str:
        epoch, index = key
        random = np.random.default_rng((self.items.seed, epoch, index))

        def another() -> Sample:
            for _ in range(TRIES):
                try:
                    return self.items.sample(int(random.integers(len(self))))
                except (ValueError, OSError):
                    # Its failure is reported at its own turn.
                    continue
            raise ValueError(f"{TRIES} other samples could not be read")

        def background() -> np.ndarray:
            return self.backgrounds[int(random.integers(len(self.backgrounds)))]

        given = background if len(self.backgrounds) else None
        try:
            sample = self.items.sample(index)
            material = Material(another, self.datasets[0].skeleton, self.network, self.augmentation, given)
            return compose(sample, material, random)
        except (ValueError, OSError) as error:
            return f"sample {index} left out: {error}"

    def collate(self, scenes: Sequence[Scene | str]) -> SceneBatch:
        """Stack scenes; a batch of nothing but messages has none."""
        return collate_scenes(scenes, self.network)


def collate_scenes(scenes: Sequence[Scene | str], network: NetworkConfig) -> SceneBatch:
    """Stack scenes of one size; subjects are padded to the largest number."""
    good = [scene for scene in scenes if isinstance(scene, Scene)]
    unreadable = tuple(scene for scene in scenes if isinstance(scene, str))
    if not good:
        return replace(blank_scenes(network, 0), unreadable=unreadable)
    return SceneBatch(
        torch.from_numpy(np.stack([scene.image for scene in good])),
        _squares([scene.rois for scene in good]),
        _squares([scene.ignored for scene in good]),
        torch.tensor([scene.doubtful for scene in good]),
        torch.zeros(len(good), 2),
        unreadable,
    )


def blank_scenes(network: NetworkConfig, count: int) -> SceneBatch:
    """Return a batch of black pictures with nobody in them."""
    pictures = torch.zeros(count, *network.input_size, 3, dtype=torch.uint8)
    nobody = torch.zeros(count, 0, 3)
    return SceneBatch(pictures, nobody, nobody, torch.zeros(count, dtype=torch.bool), torch.zeros(count, 2))


def _squares(rois: Sequence[Sequence[Roi]]) -> torch.Tensor:
    most = max(len(each) for each in rois)
    squares = torch.zeros(len(rois), most, 3)
    for i, each in enumerate(rois):
        for k, roi in enumerate(each):
            squares[i, k] = torch.tensor([*roi.center, roi.side])
    return squares
