"""Leeds Sports Poses and its extension, from their own `joints.mat` and images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cpm_fast.data.files.matlab import read_mat
from cpm_fast.data.sample import Sample
from cpm_fast.media.image import read_image
from cpm_fast.roi import Roi
from cpm_fast.skeleton import LSP, Skeleton

# Order of the 14 joints in both files; left and right are the person's own.
LEG, ARM = ("ankle", "knee", "hip"), ("wrist", "elbow", "shoulder")
FILE_ORDER = (
    *(f"right_{joint}" for joint in LEG),
    *(f"left_{joint}" for joint in reversed(LEG)),
    *(f"right_{joint}" for joint in ARM),
    *(f"left_{joint}" for joint in reversed(ARM)),
    "neck",
    "head_top",
)


class LeedsSports:
    """LSP (Johnson and Everingham, BMVC 2010) or LSP-extended (CVPR 2011); the layout of `joints.mat` decides which.

    lsp: joints [3, 14, M], the third row 1 where a joint is hidden; every coordinate counts.
    lspet: joints [14, 3, M], the third column 1 where a joint is labeled; the coordinates of the others are noise.
    Both are 1-based. Regions follow `Roi.from_parts`; the center is the image's for lsp, as released, and the middle
    of the labeled joints for lspet. As in the release, a hidden joint of lsp counts as a target but not for the
    scale.

    Args:
        root: folder that holds joints.mat and images/.

    Raises:
        FileNotFoundError: root has no joints.mat or no images folder.
        ValueError: joints.mat is not a MATLAB file, or of neither layout.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        joints = _read_joints(self.root / "joints.mat")
        if not (self.root / "images").is_dir():
            raise FileNotFoundError(f"{self.root}: must hold a folder images beside joints.mat")
        self.extended = joints.shape[0] == 14
        flagged = joints[:, 2] == 1 if self.extended else joints[2].T == 1  # file order
        points = joints[:, :2] if self.extended else joints[:2].transpose(1, 0, 2)  # [14, 2, M]
        order = LSP.order_from(FILE_ORDER)
        self.parts_image = points.transpose(2, 0, 1)[:, order] - 1.0  # [M, P, 2]
        flags = (flagged.T if self.extended else flagged)[:, order]  # [M, P]
        finite = np.isfinite(self.parts_image).all(axis=2)
        self.labeled = (flags if self.extended else np.ones_like(flags)) & finite
        self.occluded = np.zeros_like(flags) if self.extended else flags
        self.parts_image[~self.labeled] = np.nan

    @property
    def name(self) -> str:
        return "lspet" if self.extended else "lsp"

    @property
    def skeleton(self) -> Skeleton:
        return LSP

    def __len__(self) -> int:
        return len(self.parts_image)

    def path(self, index: int) -> Path:
        return self.root / "images" / (f"im{index + 1:05d}.jpg" if self.extended else f"im{index + 1:04d}.jpg")

    @property
    def annotation_files(self) -> list[Path]:
        return [self.root / "joints.mat"]

    def picture_files(self) -> list[Path]:
        """Return the path of every picture."""
        return [self.path(index) for index in range(len(self))]

    def roi(self, index: int, height: int, width: int) -> Roi:
        """Return the region of a sample whose image has this size."""
        center = None if self.extended else ((width - 1) / 2, (height - 1) / 2)
        seen = self.labeled[index] & ~self.occluded[index]
        if seen.sum() < 2:
            seen = self.labeled[index]
        return Roi.from_parts(self.parts_image[index], seen, LSP, center)

    def __getitem__(self, index: int) -> Sample:
        image = read_image(self.path(index))
        return Sample(
            image=image,
            parts_image=self.parts_image[index],
            labeled=self.labeled[index],
            roi=self.roi(index, *image.shape[:2]),
            name=self.path(index).name,
            occluded=self.occluded[index],
        )


def _read_joints(path: Path) -> np.ndarray:
    """Read `joints` of a .mat file, [3, 14, M] or [14, 3, M] float64."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; the folder of LSP or LSP-extended must hold joints.mat")
    joints = read_mat(path, "joints")
    numbers = isinstance(joints, np.ndarray) and joints.ndim == 3
    if not numbers or joints.shape[:2] not in ((3, 14), (14, 3)):
        shape = list(joints.shape) if isinstance(joints, np.ndarray) else type(joints).__name__
        raise ValueError(f"{path}: joints must be numbers, [3, 14, M] (lsp) or [14, 3, M] (lspet), got {shape}")
    return np.asarray(joints, dtype=np.float64)
