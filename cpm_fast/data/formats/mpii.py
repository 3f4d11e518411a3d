"""MPII Human Pose, from its release in a MATLAB file or from the JSON that most toolkits use."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from cpm_fast.data.files.json_file import numbers, read_json
from cpm_fast.data.files.matlab import field, number_field, read_mat, structs
from cpm_fast.data.left_out import LeftOut
from cpm_fast.data.subjects import Subject, Subjects
from cpm_fast.roi import Roi
from cpm_fast.skeleton import MPII

# The benchmark's head length is this share of the diagonal of the annotated head box.
HEAD_SHARE = 0.6
HEAD_CORNERS = ("x1", "y1", "x2", "y2")


class MpiiRelease(Subjects):
    """MPII Human Pose (Andriluka et al., CVPR 2014) from `mpii_human_pose_v1_u12_1.mat`.

    Every person with annotated points is a sample, in the file's order; the people of test images have none. File
    coordinates are 1-based. The region comes from `objpos` and `scale` by `Roi.from_mpii`, or from the points where a
    person has no scale. As in the release of the networks, a point counts as visible unless the file says 0.

    Args:
        path: of the .mat file; pictures lie in images/ beside it or one folder up, or beside it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file; the message names file, image and person.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        release = read_mat(path, "RELEASE")
        subjects: list[Subject] = []
        left_out = LeftOut(path, "person", "people")
        try:
            annotations = structs(release, "annolist")
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        for image, annotation in enumerate(annotations, 1):
            where = f"image {image}"
            try:
                name = field(field(annotation, "image"), "name")
                people = structs(annotation, "annorect")
            except ValueError as error:
                left_out.add(where, error)
                continue
            for person, rectangle in enumerate(people, 1):
                try:
                    if field(field(rectangle, "annopoints"), "point") is not None:
                        subjects.append(_person(name, rectangle, (image, person)))
                except ValueError as error:
                    left_out.add(f"{where}, person {person}", error)
        reasons = left_out.report(len(subjects))
        if not subjects:
            raise ValueError(f"{path}: RELEASE.annolist must hold people with annopoints, got none")
        super().__init__("mpii", MPII, subjects, _folders(path), [path], reasons)


class MpiiJson(Subjects):
    """MPII Human Pose as a JSON list of {image, center, scale, joints [16][2], joints_vis [16]}, one entry per person.

    Values are the release's: 1-based, center and scale without the margin that some toolkits add as they read. A joint
    of joints_vis 0 is not labeled. The list has no head boxes.

    Args:
        path: of the .json file; pictures lie in images/ beside it or one folder up, or beside it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file; the message names file and entry.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        entries = read_json(path)
        if not isinstance(entries, list) or not entries:
            raise ValueError(f"{path}: must be a list of people, got {type(entries).__name__} {entries!r:.60}")
        subjects, left_out = [], LeftOut(path, "entry", "entries")
        for place, entry in enumerate(entries):
            try:
                subjects.append(_entry(entry))
            except ValueError as error:
                left_out.add(f"entry {place}", error)
        super().__init__("mpii", MPII, subjects, _folders(path), [path], left_out.report(len(subjects)))


def _folders(path: Path) -> list[Path]:
    return [path.parent / "images", path.parent.parent / "images", path.parent]


def _person(name: Any, rectangle: Any, identity: tuple[int, int]) -> Subject:
    if not isinstance(name, str):
        raise ValueError(f"image.name must be text, got {name!r:.60}")
    parts_image = np.full((len(MPII), 2), np.nan)
    occluded = np.zeros(len(MPII), dtype=bool)
    for point in structs(field(rectangle, "annopoints"), "point"):
        part = number_field(point, "id")
        if part not in range(len(MPII)):
            raise ValueError(f"id of a point must be from 0 to {len(MPII) - 1}, got {part}")
        parts_image[int(part)] = number_field(point, "x") - 1, number_field(point, "y") - 1
        # Some files hold numbers here, some texts.
        flag = field(point, "is_visible")
        occluded[int(part)] = flag == "0" if isinstance(flag, str) else number_field(point, "is_visible") == 0
    known = np.isfinite(parts_image).all(axis=1)
    parts_image[~known] = np.nan
    position = field(rectangle, "objpos")
    center, scale = (number_field(position, "x") - 1, number_field(position, "y") - 1), number_field(rectangle, "scale")
    annotated = all(map(math.isfinite, (*center, scale)))
    left, top, right, bottom = (number_field(rectangle, corner) for corner in HEAD_CORNERS)
    head_length = HEAD_SHARE * math.hypot(right - left, bottom - top)
    return Subject(
        image=name,
        parts_image=parts_image,
        roi=Roi.from_mpii(center, scale) if annotated else Roi.from_parts(parts_image, known, MPII),
        occluded=occluded & known,
        head_length=head_length if head_length > 0 else None,
        identity=identity,
    )


def _entry(entry: Any) -> Subject:
    wanted = {"image", "center", "scale", "joints", "joints_vis"}
    if not isinstance(entry, dict) or not wanted <= set(entry):
        raise ValueError(f"must have the keys {sorted(wanted)}, got {entry!r:.80}")
    if not isinstance(entry["image"], str) or not entry["image"]:
        raise ValueError(f"image must name a picture, got {entry['image']!r:.60}")
    joints, visible = entry["joints"], numbers(entry["joints_vis"], len(MPII), "joints_vis")
    if not isinstance(joints, list) or len(joints) != len(MPII):
        raise ValueError(f"joints must be {len(MPII)} points, got {joints!r:.80}")
    parts_image = np.array([numbers(joint, 2, "a joint") for joint in joints]) - 1
    parts_image[np.array(visible) == 0] = np.nan
    x, y = numbers(entry["center"], 2, "center")
    (scale,) = numbers([entry["scale"]], 1, "scale")
    return Subject(entry["image"], parts_image, Roi.from_mpii((x - 1, y - 1), scale))
