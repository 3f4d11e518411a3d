"""Pictures and key points in one HDF5 file, in DeepPoseKit's layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from cpm_fast.data.files.hdf5 import array, check_hdf5, dataset, member, open_hdf5
from cpm_fast.data.own_skeleton import skeleton_file
from cpm_fast.data.sample import Sample
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.files import text_of_name

IMAGES, ANNOTATIONS, ANNOTATED, SKELETON = "images", "annotations", "annotated", "skeleton"
GRAY, COLOR = 1, 3


class AnnotationSet:
    """An annotation set of DeepPoseKit (Graving et al. 2019): one subject per picture, and the picture is its region.

    images [M, H, W, 1 or 3] uint8 (BGR); annotations [M, P, 2], pixels, 0-based; annotated [M, P] bool, which points a
    person has confirmed; skeleton [P, 2], of each part its parent and the part that it changes places with when the
    picture is mirrored, -1 for none. If two parts disagree about that, the first one decides (the published flies have
    such a slip). The file has no names: parts are part_0, part_1, ... A skeleton.toml beside it may give P
    names, in the file's order, with its own limbs and pairs.

    Only confirmed points are labeled, and pictures without any are left out. If a file confirms none at all, as the
    published example sets, every point counts except one at (0, 0), the initial value of new pictures.

    Args:
        path: of the HDF5 file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file; the message names it.
        RuntimeError: h5py is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        check_hdf5(self.path)
        with open_hdf5(self.path) as file:
            images = dataset(file, IMAGES, "u", 4)
            points = array(file, ANNOTATIONS, "iuf", 3)[..., :2].astype(np.float64)
            if images.dtype != np.uint8 or images.shape[3] not in (GRAY, COLOR) or 0 in images.shape:
                raise ValueError(f"images must be [M, H, W, 1 or 3] uint8, got {list(images.shape)} {images.dtype}")
            if points.shape[0] != images.shape[0] or not points.shape[1] or points.shape[2] != 2:
                raise ValueError(f"annotations must be [{images.shape[0]}, P, 2], got {list(file[ANNOTATIONS].shape)}")
            confirmed = np.zeros(points.shape[:2], dtype=bool)
            if ANNOTATED in file:
                confirmed = array(file, ANNOTATED, "biu", 2) != 0
                if confirmed.shape != points.shape[:2]:
                    raise ValueError(f"annotated must be {list(points.shape[:2])}, got {list(confirmed.shape)}")
            tree = array(file, SKELETON, "iu", 2).astype(np.int64) if SKELETON in file else None
            self._skeleton = self._named(points.shape[1], tree)
        known = np.isfinite(points).all(axis=2) & (confirmed if confirmed.any() else (points != 0).any(axis=2))
        points[~known] = np.nan
        # Places in the file of the samples.
        self.frames = np.flatnonzero(known.any(axis=1))
        if not len(self.frames):
            raise ValueError(f"{self.path}: must hold annotated points, got none in {len(points)} pictures")
        self.parts_image, self.labeled = points[self.frames], known[self.frames]

    def _named(self, count: int, tree: np.ndarray | None) -> Skeleton:
        own = skeleton_file([self.path.parent])
        if own is not None:
            skeleton = Skeleton.from_toml(own)
            if len(skeleton) != count:
                raise ValueError(f"{own} must name the {count} parts of the file, got {len(skeleton)}")
            return skeleton
        names = tuple(f"part_{part}" for part in range(count))
        if tree is None:
            return Skeleton(self.name, names)
        if tree.shape != (count, 2) or (tree >= count).any():
            raise ValueError(f"skeleton must be [{count}, 2] places of parts or -1, got {list(tree.shape)}")
        parents, partners = tree.T.tolist()
        limbs = tuple((names[parent], names[part]) for part, parent in enumerate(parents) if parent >= 0)
        pairs: dict[int, int] = {}
        for part, other in enumerate(partners):
            if other >= 0 and other != part and not {part, other} & {*pairs, *pairs.values()}:
                pairs[part] = other
        named = tuple((names[part], names[other]) for part, other in pairs.items())
        return Skeleton(self.name, names, limbs, named)

    @property
    def annotation_files(self) -> list[Path]:
        return [self.path]

    @property
    def name(self) -> str:
        return text_of_name(self.path.stem)

    @property
    def skeleton(self) -> Skeleton:
        return self._skeleton

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        frame = int(self.frames[index])
        # Opened anew each time: an open file can't be shared with the processes that load batches.
        with open_hdf5(self.path) as file:
            image = member(file, IMAGES)[frame]
        height, width, channels = image.shape
        return Sample(
            image=cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if channels == GRAY else image,
            parts_image=self.parts_image[index],
            labeled=self.labeled[index],
            roi=Roi.whole_image(height, width),
            name=f"{self.path.name} {IMAGES}[{frame}]",
        )
