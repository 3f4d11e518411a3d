"""The predictions of a network for the pictures of a folder, kept between runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cpm_fast.results.entry import Entry
from cpm_fast.results.formats.csv import from_csv, to_csv
from cpm_fast.results.formats.files import DAMAGE
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.files import atomic_write
from cpm_fast.system.limits import file_exists
from cpm_fast.system.words import in_short

PREDICTIONS_FILES = "predictions-*.csv"


class FolderPredictions:
    """Predicted parts per picture, of one network.

    Args:
        folder: with a file for each network that was run.
        skeleton: of the labels; parts of the network are matched by name.
        network: fingerprint of the network; None: the one that was run last.

    Raises:
        ValueError: the file is damaged; the message names it.
    """

    def __init__(self, folder: Path, skeleton: Skeleton, network: str | None = None) -> None:
        files = sorted(folder.glob(PREDICTIONS_FILES), key=lambda path: path.stat().st_mtime_ns)
        last = files[-1] if files else folder / PREDICTIONS_FILES.replace("*", "none")
        self.path = last if network is None else folder / PREDICTIONS_FILES.replace("*", network)
        self.skeleton = skeleton
        self._found: dict[str, list[np.ndarray]] = {}
        if file_exists(self.path):
            # Not a table of results: names of pictures are relative to the folder, from any working folder.
            try:
                found, _ = from_csv(self.path.read_bytes())
            except DAMAGE as error:
                raise ValueError(f"{self.path}: not predictions that can be read: {in_short(error)}") from None
            for entry in found:
                self._found[entry.name] = in_part_order(entry, skeleton)

    def has(self, image: str) -> bool:
        return bool(self._found.get(image))

    def seen(self, image: str) -> bool:
        """Return whether the network was run on a picture, even if it found nothing."""
        return image in self._found

    def arrays(self, image: str) -> list[np.ndarray]:
        """Return [P, 3] x, y and score per subject, NaN where the network has no such part."""
        return self._found.get(image, [])

    def of(self, image: str) -> list[dict[str, list[list[float] | None]]]:
        """Return the same as plain values."""
        return [
            {"points": [[round(float(v), 3) for v in point] if np.isfinite(point).all() else None for point in points]}
            for points in self.arrays(image)
        ]

    def uncertainty(self, images: Sequence[str]) -> list[float | None]:
        """Return 1 minus the mean score of the parts per picture, of its least certain subject; None if unpredicted."""
        return [
            round(max(1 - float(np.nanmean(points[:, 2])) for points in found), 4) if found else None
            for found in map(self.arrays, images)
        ]

    def put(self, image: str, found: Sequence[np.ndarray]) -> None:
        self._found[image] = [points for points in found if np.isfinite(points).any()]

    def save(self) -> None:
        """Write the predictions, whole or not at all."""
        results = []
        for image, found in self._found.items():
            points = np.array(found, np.float32).reshape(-1, len(self.skeleton), 3)
            results.append(Entry(points[..., :2], points[..., 2], self.skeleton, image))
        with atomic_write(self.path) as file:
            file.write(to_csv(results, {}))


def in_part_order(result: Entry, skeleton: Skeleton) -> list[np.ndarray]:
    """Return the subjects of a result in the order of another skeleton's parts: [P, 3] x, y and score each."""
    order = np.array(skeleton.order_from(result.skeleton.names))
    table = np.concatenate([result.keypoints, result.scores[..., None]], axis=2).astype(np.float64)
    return [np.where((order >= 0)[:, None], points[order], np.nan) for points in table]
