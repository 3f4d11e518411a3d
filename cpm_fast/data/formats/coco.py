"""Key points in COCO's JSON, of people or of anything else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.data.files.json_file import numbers, read_json, whole
from cpm_fast.data.own_skeleton import skeleton_file, skeleton_of
from cpm_fast.data.subjects import Subject, Subjects
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton

NOT_LABELED, OCCLUDED = 0, 1


class CocoKeypoints(Subjects):
    """Annotations of a COCO key point file (Lin et al., ECCV 2014), in its order; pixels as they stand, 0-based.

    Left out are crowds and annotations without a labeled point. A point of visibility 0 is not labeled, of 1 hidden.
    The region is about the annotation's box, or about the points where it has none. Names and limbs are those of the
    file's categories, whose key points must be the same; a skeleton.toml beside the file may give others, by name.

    Args:
        path: of the JSON file. Pictures lie beside it, in images/ there, or, as COCO's own, one folder up in a folder
            that is called like the end of the file's name (person_keypoints_val2017.json: val2017), also in images/.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file; the message names file and annotation.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        content = read_json(path)
        try:
            images, annotations, categories = (
                _entries(content, key) for key in ("images", "annotations", "categories")
            )
            file_skeleton = _skeleton(categories, path.stem)
            names = {_key(image, "id"): _name(image) for image in images}
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        own = skeleton_file([path.parent])
        skeleton = file_skeleton if own is None else Skeleton.from_toml(own)
        order = skeleton.order_from(file_skeleton.names)
        if min(order) < 0:
            lacking = [name for name, place in zip(skeleton.names, order, strict=True) if place < 0]
            raise ValueError(f"{path}: must have the key points {lacking}, got {list(file_skeleton.names)}")
        subjects = []
        for annotation in annotations:
            try:
                subject = _subject(annotation, names, len(file_skeleton), skeleton, order)
            except ValueError as error:
                raise ValueError(f"{path} annotation {annotation.get('id')!r:.20}: {error}") from None
            if subject is not None:
                subjects.append(subject)
        if not subjects:
            raise ValueError(f"{path}: must hold annotations with labeled key points, got {len(annotations)} others")
        super().__init__(path.stem, skeleton, subjects, _folders(path))


def _folders(path: Path) -> list[Path]:
    split = path.stem.rpartition("_")[2]
    here, up = path.parent, path.parent.parent
    return [here, here / "images", here / split, up / split, up / "images" / split, up / "images"]


def _entries(content: Any, key: str) -> list[dict[str, Any]]:
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        keys = sorted(map(str, content))[:8] if isinstance(content, dict) else f"{content!r:.60}"
        raise ValueError(f"must hold lists images, annotations and categories, got {keys}")
    return found


def _skeleton(categories: list[dict[str, Any]], name: str) -> Skeleton:
    """Of the categories with key points, which must agree."""
    with_points = [category for category in categories if category.get("keypoints")]
    if not with_points:
        raise ValueError("must have a category with the names of its keypoints, got none")
    parts = with_points[0]["keypoints"]
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"keypoints of a category must be names, got {parts!r:.80}")
    if any(category["keypoints"] != parts for category in with_points):
        raise ValueError("all categories must have the same keypoints; take those of one into a file of its own")
    limbs = []
    for limb in with_points[0].get("skeleton") or []:
        a, b = (int(end) - 1 for end in numbers(limb, 2, "a limb of the skeleton"))
        if not (0 <= a < len(parts) and 0 <= b < len(parts)):
            raise ValueError(f"a limb of the skeleton must join two of {len(parts)} keypoints, from 1, got {limb}")
        limbs.append((parts[a], parts[b]))
    return skeleton_of(name, parts, limbs)


def _key(entry: Mapping[str, Any], name: str) -> int:
    return whole(entry.get(name), name)


def _name(image: Mapping[str, Any]) -> str:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"file_name of image {image.get('id')!r:.20} must name a picture, got {name!r:.60}")
    return name


def _subject(
    annotation: Mapping[str, Any], names: Mapping[int, str], points_count: int, skeleton: Skeleton, order: list[int]
) -> Subject | None:
    """None of a crowd, or where nothing is labeled."""
    if annotation.get("iscrowd") or not annotation.get("keypoints") or annotation.get("num_keypoints") == 0:
        return None
    points = np.array(numbers(annotation["keypoints"], 3 * points_count, "keypoints")).reshape(-1, 3)[order]
    if (points[:, 2] == NOT_LABELED).all():
        return None
    image = _key(annotation, "image_id")
    if image not in names:
        raise ValueError(f"image_id must be the id of one of the {len(names)} images, got {image}")
    labeled = points[:, 2] != NOT_LABELED
    parts_image = np.where(labeled[:, None], points[:, :2], np.nan)
    left, top, width, height = numbers(annotation.get("bbox") or [0, 0, 0, 0], 4, "bbox")
    # A box without width or height, as COCO has a few, is none.
    box = (left, top, left + width, top + height) if width > 0 and height > 0 else None
    area = annotation.get("area")
    return Subject(
        image=names[image],
        parts_image=parts_image,
        roi=Roi.from_parts(parts_image, labeled, skeleton) if box is None else Roi.from_box(np.array(box)),
        occluded=points[:, 2] == OCCLUDED,
        box_image=box,
        area=None if area is None else numbers([area], 1, "area")[0],
        identity=(image, _key(annotation, "id")),
    )
