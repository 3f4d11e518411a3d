"""Pictures without subjects, as backgrounds of scenes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cpm_fast.media.image import read_image
from cpm_fast.media.sources import list_folder


class Backgrounds(Sequence[np.ndarray]):
    """Pictures in which no subject is, read when they are needed.

    Args:
        paths: of the files.
        name: of all of them, for messages.

    Examples:
        >>> len(Backgrounds([]))
        0
    """

    def __init__(self, paths: Sequence[Path], name: str = "backgrounds") -> None:
        self.paths, self.name = list(paths), name

    @classmethod
    def of_folder(cls, folder: str | Path) -> Backgrounds:
        """Return the pictures of a folder and of those in it.

        Raises:
            NotADirectoryError: there is no such folder.
            ValueError: it holds no picture.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder}: backgrounds must be a folder of pictures, and there is none")
        return cls(list_folder(folder, recursive=True), str(folder))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        """Return a picture, [H, W, 3] uint8 BGR.

        Raises:
            ValueError, OSError: it can't be read; names the file.
        """
        return read_image(self.paths[index])

    def picture_files(self) -> list[Path]:
        """Return the files of all pictures, for a run's list of its inputs."""
        return self.paths
