"""Key points in COCO's JSON, of people or of anything else."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.data.files.json_file import numbers, read_json
from cpm_fast.data.left_out import LeftOut
from cpm_fast.data.own_skeleton import skeleton_file, skeleton_of
from cpm_fast.data.pictures import Pictures
from cpm_fast.data.subjects import Box, Subject, Subjects, region_of_parts
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.numbers import identifier, is_whole
from cpm_fast.system.words import some_of

NOT_LABELED, OCCLUDED, SEEN = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Unsampled:
    """An annotation that is no sample, but counts in average precision.

    Args:
        image: the id of its image.
        parts_image: [P, 2] image pixels, NaN where not labeled.
        area: square image pixels, NaN where not annotated.
        box: left, top, width, height, image pixels.
        ignored: whether a prediction of it counts neither as right nor as wrong: a crowd, or nothing is labeled.
        crowd: whether several predictions may match it.
    """

    image: int | str
    parts_image: np.ndarray
    area: float
    box: tuple[float, float, float, float]
    ignored: bool
    crowd: bool = False


class CocoKeypoints(Subjects):
    """Annotations of a COCO key point file (Lin et al., ECCV 2014), in its order; pixels as they stand, 0-based.

    Left out are crowds, annotations without a labeled point and, counted and named, those that can't be used. A point
    of visibility 0 or less is not labeled, of 1 hidden, of 2 seen. The region is about the annotation's box, or about
    the points where it has none (`subjects.region_of_parts`). Names and limbs are those of the file's categories, whose
    key points must be the same; a skeleton.toml beside the file may give others, by name. A picture whose size is not
    that of the file can't be read: its labels would be in the wrong places.

    `images` has the name of every image by its id, also of those without people; `category` is the id of the category
    (the first of several); `unsampled` are the annotations that average precision needs though they are no samples.

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
            listed, annotations, categories = (_list(content, key) for key in ("images", "annotations", "categories"))
            categories = [category for category in categories if isinstance(category, dict)]
            file_skeleton = _skeleton(categories, path.stem)
            images = _named_images(path, listed)
            names, sizes = _names(images), _sizes(images)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        own = skeleton_file([path.parent])
        skeleton = file_skeleton if own is None else Skeleton.from_toml(own)
        order = skeleton.order_from(file_skeleton.names)
        if min(order) < 0:
            lacking = [name for name, place in zip(skeleton.names, order, strict=True) if place < 0]
            raise ValueError(f"{path}: must have the key points {lacking}, got {list(file_skeleton.names)}")
        subjects, left_out = [], LeftOut(path, "annotation")
        # A list: the numbers of a damaged file may be anything.
        with_points = [category.get("id") for category in categories if category.get("keypoints")]
        self.category = with_points[0]
        self.images = names
        self.unsampled: list[Unsampled] = []
        for place, annotation in enumerate(annotations):
            if not isinstance(annotation, dict):
                left_out.add(f"annotation number {place}", f"must be a table of fields, got {annotation!r:.40}")
                continue
            where = f"annotation {annotation.get('id', f'number {place}')!r:.20}"
            subject = None
            try:
                subject = _subject(annotation, names, len(file_skeleton), skeleton, order)
            except VisibilityError as error:
                raise ValueError(f"{path} {where}: {error}") from None
            except ValueError as error:
                left_out.add(where, error)
            if subject is not None:
                subjects.append(replace(subject, size=sizes.get(_key(annotation, "image_id"))))
            elif annotation.get("category_id") in with_points:
                self.unsampled += _unsampled(annotation, names, len(file_skeleton), order)
        reasons = left_out.report(len(subjects))
        _warn_of_shared_ids(path, [annotation for annotation in annotations if isinstance(annotation, dict)])
        if not subjects:
            raise ValueError(f"{path}: must hold annotations with labeled key points, got {len(annotations)} others")
        super().__init__(path.stem, skeleton, subjects, _folders(path), [path], reasons)
        for one in self.unsampled:
            left, top, width, height = one.box
            if width > 0 and height > 0:
                self.ignored.setdefault(names[one.image], []).append((left, top, left + width, top + height))


class VisibilityError(ValueError):
    """A file's flags of visibility have another meaning than COCO's."""


def coco_pictures(path: Path) -> list[Path]:
    """Return the paths of all pictures that a COCO file names, with or without annotations.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a COCO file.
    """
    content = read_json(path)
    try:
        names = _names(_named_images(path, _list(content, "images")))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    pictures = Pictures(_folders(path))
    return [pictures.path(name) for name in names.values()]


def _folders(path: Path) -> list[Path]:
    split = path.stem.rpartition("_")[2]
    here, up = path.parent, path.parent.parent
    return [here, here / "images", here / split, up / split, up / "images" / split, up / "images"]


def _list(content: Any, key: str) -> list[Any]:
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list):
        got = some_of(sorted(map(str, content))) if isinstance(content, dict) else f"{content!r:.60}"
        raise ValueError(f"must hold lists images, annotations and categories, got {got}")
    return found


def _named_images(path: Path, images: list[Any]) -> list[dict[str, Any]]:
    """Return the images with an id and a file name; the others are left out with a warning, as are their annotations.

    Raises:
        ValueError: there are images, but none with both; names the file and the first.
    """
    named, left_out = [], LeftOut(path, "image")
    for place, image in enumerate(images):
        try:
            if not isinstance(image, dict):
                raise ValueError(f"must be a table of fields, got {image!r:.40}")
            _key(image, "id")
            _name(image)
            named.append(image)
        except ValueError as error:
            left_out.add(f"image number {place}", error)
    try:
        left_out.report(len(named))
    except ValueError as error:
        raise ValueError(str(error).removeprefix(f"{path} ")) from None
    return named


def _skeleton(categories: list[dict[str, Any]], name: str) -> Skeleton:
    """Return the skeleton of the categories with key points, which must agree."""
    with_points = [category for category in categories if category.get("keypoints")]
    if not with_points:
        raise ValueError("must have a category with the names of its keypoints, got none")
    parts = with_points[0]["keypoints"]
    if isinstance(parts, list):
        # Some files number their points.
        parts = [str(part) if is_whole(part) else part for part in parts]
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"keypoints of a category must be names, got {parts!r:.80}")
    named = {part: part.strip() for part in parts}
    if any(category["keypoints"] != with_points[0]["keypoints"] for category in with_points):
        raise ValueError("all categories must have the same keypoints; take those of one into a file of its own")
    limbs = _limbs(with_points[0].get("skeleton"), parts, name)
    return skeleton_of(name, [named[part] for part in parts], [(named[a], named[b]) for a, b in limbs])


def _limbs(given: Any, parts: list[str], name: str) -> list[tuple[str, str]]:
    """Return the limbs, given by the numbers or the names of parts; unusable ones are left out with a warning.

    Some files count the parts from 0.
    """
    limbs: list[tuple[int, int]] = []
    fine: list[tuple[str, str]] = []
    bad: list[Any] = []
    if not (given is None or isinstance(given, list)):
        warnings.warn(f"{name}: the skeleton is left out: must be a list of limbs, got {given!r:.60}", stacklevel=2)
    for limb in given if isinstance(given, list) else []:
        try:
            a, b = (int(end) for end in numbers(limb, 2, "a limb"))
            limbs.append((a, b))
        except ValueError:
            named = isinstance(limb, list) and len(limb) == 2 and all(end in parts for end in limb)
            if named:
                fine.append((limb[0], limb[1]))
            else:
                bad.append(limb)
    ends = [end for limb in limbs for end in limb]
    first = 0 if ends and min(ends) == 0 and max(ends) < len(parts) else 1
    for a, b in limbs:
        if a != b and all(first <= end < first + len(parts) for end in (a, b)):
            fine.append((parts[a - first], parts[b - first]))
        else:
            bad.append([a, b])
    if first == 0:
        warnings.warn(f"{name}: limbs of the skeleton count from 0, where COCO counts from 1", stacklevel=2)
    if bad:
        warnings.warn(
            f"{name}: {len(bad)} limbs of the skeleton left out, which do not join two of {len(parts)} keypoints, from "
            f"{first}: {bad[:3]!r:.80}",
            stacklevel=2,
        )
    return fine


def _warn_of_shared_ids(path: Path, annotations: list[dict[str, Any]]) -> None:
    """Warn of annotations of one id, which other programs take for one; here each is a subject of its own."""
    first: dict[str, int] = {}
    twice = []
    for place, annotation in enumerate(annotations):
        key = annotation.get("id")
        before = place if key is None else first.setdefault(repr(key), place)
        if before != place:
            twice.append((key, before, place))
    if twice:
        key, before, place = twice[0]
        at = " and ".join(f"number {i} of image {annotations[i].get('image_id')!r:.20}" for i in (before, place))
        warnings.warn(
            f"{path}: annotations must have an id of their own, {len(twice)} have another's, the first {key!r:.20}: "
            f"{at}, counted from 0; each is used",
            stacklevel=3,
        )


def _names(images: list[dict[str, Any]]) -> dict[int | str, str]:
    names: dict[int | str, str] = {}
    for image in images:
        key, name = _key(image, "id"), _name(image)
        if names.setdefault(key, name) != name:
            raise ValueError(f"images must have an id of their own, got {key} for {names[key]} and {name}")
    return names


def _sizes(images: list[dict[str, Any]]) -> dict[int | str, tuple[int, int]]:
    """Return (height, width) of the images by their ids, where the file has plausible ones."""
    found = {}
    for image in images:
        height, width = image.get("height"), image.get("width")
        if isinstance(height, int) and isinstance(width, int) and min(height, width) > 1:
            found[_key(image, "id")] = (height, width)
    return found


def _key(entry: Mapping[str, Any], name: str) -> int | str:
    return identifier(entry.get(name), name)


def _name(image: Mapping[str, Any]) -> str:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"file_name of image {image.get('id')!r:.20} must name a picture, got {name!r:.60}")
    return name


def _subject(
    annotation: Mapping[str, Any],
    names: Mapping[int | str, str],
    points_count: int,
    skeleton: Skeleton,
    order: list[int],
) -> Subject | None:
    """Return the sample of an annotation; None for a crowd, or if nothing is labeled."""
    if annotation.get("iscrowd") or not annotation.get("keypoints"):
        return None
    points = _points(annotation["keypoints"], points_count)[order]
    flags = points[:, 2]
    strange = (flags > NOT_LABELED) & (flags != OCCLUDED) & (flags != SEEN)
    if strange.any():
        part = skeleton.names[int(strange.argmax())]
        raise VisibilityError(f"the visibility of {part} must be 0, 1 or 2, got {flags[strange][0]:g}")
    labeled = flags > NOT_LABELED
    if not labeled.any():
        return None
    if annotation.get("num_keypoints") == 0:
        raise ValueError(f"num_keypoints is 0, and {labeled.sum()} are labeled")
    image = _key(annotation, "image_id")
    if image not in names:
        raise ValueError(f"image_id must be the id of one of the {len(names)} images, got {image!s:.60}")
    parts_image = np.where(labeled[:, None], points[:, :2], np.nan)
    left, top, width, height = numbers(annotation.get("bbox") or [0, 0, 0, 0], 4, "bbox")
    # A box without width or height, as COCO has a few, is none.
    roi: Roi | None = None
    box: Box | None = (left, top, left + width, top + height)
    if width <= 0 or height <= 0:
        roi, box = region_of_parts(parts_image, skeleton)
    area = annotation.get("area")
    return Subject(
        image=names[image],
        parts_image=parts_image,
        roi=roi,
        occluded=labeled & (flags == OCCLUDED),
        box_image=box,
        area=None if area is None else numbers([area], 1, "area")[0],
        identity=(image, 0 if annotation.get("id") is None else _key(annotation, "id")),
    )


def _points(values: Any, count: int) -> np.ndarray:
    """Return [P, 3] x, y and visibility; the place of a point that is not labeled may be anything."""
    if isinstance(values, list) and len(values) == 3 * count:
        absent = [flag is None or (isinstance(flag, int | float) and flag <= NOT_LABELED) for flag in values[2::3]]
        values = [0 if absent[at // 3] and (value is None or at % 3 < 2) else value for at, value in enumerate(values)]
    return np.array(numbers(values, 3 * count, "keypoints")).reshape(-1, 3)


def _unsampled(
    annotation: Mapping[str, Any], names: Mapping[int | str, str], points_count: int, order: list[int]
) -> list[Unsampled]:
    """Return the annotation; None if it can't be understood, or is of no image."""
    try:
        image = _key(annotation, "image_id")
        box = numbers(annotation.get("bbox") or [0, 0, 0, 0], 4, "bbox")
        area = annotation.get("area")
        size = np.nan if area is None else numbers([area], 1, "area")[0]
        points = _points(annotation.get("keypoints") or [0] * 3 * points_count, points_count)[order]
    except ValueError:
        return []
    if image not in names:
        return []
    labeled = points[:, 2] > NOT_LABELED
    parts_image = np.where(labeled[:, None], points[:, :2], np.nan)
    crowd = bool(annotation.get("iscrowd"))
    ignored = crowd or not labeled.any() or annotation.get("num_keypoints") == 0
    return [Unsampled(image, parts_image, size, (box[0], box[1], box[2], box[3]), ignored, crowd)]
