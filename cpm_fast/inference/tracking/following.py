"""Several subjects of a video: new ones are found while known ones are followed, and each keeps its identity."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cpm_fast.engine import Engine
from cpm_fast.inference.asking import Looks, looked
from cpm_fast.inference.finders.search import overlap, sameness
from cpm_fast.inference.images import make_result
from cpm_fast.inference.parts import Found, Sighting, look
from cpm_fast.inference.settings import Settings
from cpm_fast.inference.tracking.appearance import blended, color_sameness, limb_colors
from cpm_fast.inference.tracking.assignment import best_pairs
from cpm_fast.inference.tracking.extent import nested_in, shared
from cpm_fast.inference.tracking.tracker import PassingImage, Tracker, about_parts, of_frame, size_of, sure_parts
from cpm_fast.media.video import VideoFrame
from cpm_fast.results.result import Result
from cpm_fast.roi import Roi

# The step in frames between searches for new subjects.
FIND_EVERY = 5
# A subject that is not seen for more frames than this has left.
LOST_FRAMES = 25
# Poses in one frame whose `sameness` is at least this are one subject's.
SAME_POSE = 0.6
# The minimum of `FollowedSubject.alike`; below it a pose is not the subject's.
LEAST_ALIKE = 0.1
# A found region with a larger overlap with a followed one shows that subject.
KNOWN_OVERLAP = 0.45
# The distance from a steady motion at which similarity falls, as a share of the region's side.
STEADY_SHARE = 0.15
# The share of a new displacement in the velocity, which is a mean over about seven frames, and of a new color in the
# colors. Neither changes while another subject is so near that poses may be confused (CROWDED_SHARE of the smaller box
# around the parts is in the other box), unless the subject was seen fewer than LEAST_AGE times.
NEW_SHARE, COLOR_SHARE, CROWDED_SHARE, LEAST_AGE = 0.15, 0.1, 0.1, 5
# The share of its similarity that a pose loses if its colors are entirely different.
COLOR_WEIGHT = 0.6


@dataclass(frozen=True, eq=False)
class FoundPose:
    """Parts that were found in a region.

    Args:
        seen: the region that the network looked at.
        found: what it found there.
        parts: [P, 2] image pixels.
        scores: [P].
        region: about the parts that it was sure of.
        colors: [L, 3] of its limbs, see `limb_colors`.
        new: whether the region was found, and not followed.
    """

    seen: Roi
    found: Found
    parts: np.ndarray
    scores: np.ndarray
    region: Roi
    colors: np.ndarray
    new: bool


@dataclass(frozen=True, eq=False)
class FollowedSubject:
    """A subject that is followed.

    Args:
        id: its number, from 0 in the order of appearance.
        region: about its parts, when it was last seen.
        parts: [P, 2] image pixels at that time, NaN where the network was not sure.
        velocity: [2] image pixels per frame.
        colors: [L, 3] of its limbs, NaN for those that were never seen.
        frame: when it was last seen.
        free: (x, y) where it was last seen apart from others.
        free_frame: when that was.
        age: how often it was seen.
    """

    id: int
    region: Roi
    parts: np.ndarray
    velocity: np.ndarray
    colors: np.ndarray
    frame: int
    free: tuple[float, float]
    free_frame: int
    age: int = 1

    def steady(self, frame: int) -> np.ndarray:
        """Return the place [2] in a frame if the subject has kept its velocity since it was apart from others."""
        return np.array(self.free) + self.velocity * (frame - self.free_frame)

    def moved(self, frame: int) -> FollowedSubject:
        """Return the subject moved by its velocity to a frame.

        A subject seen in the previous frame moves on from there. One that was lost among others may have been confused
        with one of them at the end, so it moves on from where it was last apart.
        """
        step = self.velocity * (frame - self.frame)
        if frame - self.frame > 1:
            step = self.steady(frame) - np.array(self.region.center)
        x, y = (np.array(self.region.center) + step).tolist()
        return replace(self, region=Roi((x, y), self.region.side).on_grid(), parts=self.parts + step)

    def alike(self, pose: FoundPose, frame: int) -> float:
        """Return the similarity of this subject, moved to a frame, and a pose: 0 to 1.

        It is the mean over parts, regions and long motion, reduced by a difference in color. So two subjects in one
        place differ by their colors, but colors alone never match a pose far away.
        """
        side = max(self.region.side, pose.region.side)
        away = float(np.linalg.norm(self.steady(frame) - np.array(pose.region.center)))
        steady = math.exp(-(away**2) / (2 * (STEADY_SHARE * side) ** 2))
        near = (sameness(self.parts, sure_of(pose), side) + overlap(self.region, pose.region) + steady) / 3
        return near * (1 - COLOR_WEIGHT * (1 - color_sameness(self.colors, pose.colors)))

    def seen_as(self, pose: FoundPose, frame: int, crowded: bool) -> FollowedSubject:
        """Return the subject as a pose shows it; `crowded`: another is so near that poses may be confused."""
        parts, free, free_frame = sure_of(pose), self.free, self.free_frame
        velocity, colors = self.velocity, self.colors
        crowded = crowded and self.age >= LEAST_AGE
        if not crowded:
            both = np.isfinite(self.parts).all(axis=1) & np.isfinite(parts).all(axis=1)
            if both.any():
                step = (parts[both] - self.parts[both]).mean(axis=0)
            else:
                step = np.array(pose.region.center) - np.array(self.region.center)
            # At first the mean of all displacements.
            velocity = velocity + max(NEW_SHARE, 1 / self.age) * (step / (frame - self.frame) - velocity)
            colors = blended(colors, pose.colors, max(COLOR_SHARE, 1 / (self.age + 1)))
        elif frame - free_frame > LOST_FRAMES:
            # A velocity does not last long.
            velocity = (np.array(pose.region.center) - np.array(free)) / (frame - free_frame)
        if not crowded or frame - free_frame > LOST_FRAMES:
            free, free_frame = pose.region.center, frame
        return FollowedSubject(self.id, pose.region, parts, velocity, colors, frame, free, free_frame, self.age + 1)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "id": self.id,
            "center": self.region.center,
            "side": self.region.side,
            "parts": _json_rows(self.parts),
            "velocity": self.velocity.tolist(),
            "colors": _json_rows(self.colors),
            "frame": self.frame,
            "free": self.free,
            "free_frame": self.free_frame,
            "age": self.age,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FollowedSubject:
        """Undo `to_dict`."""
        x, y = values["center"]
        return cls(
            id=int(values["id"]),
            region=Roi((x, y), values["side"]),
            parts=np.array(values["parts"], np.float64).reshape(-1, 2),
            velocity=np.array(values["velocity"], np.float64),
            colors=np.array(values["colors"], np.float64).reshape(-1, 3),
            frame=int(values["frame"]),
            free=(float(values["free"][0]), float(values["free"][1])),
            free_frame=int(values["free_frame"]),
            age=int(values["age"]),
        )


class Following(Tracker):
    """Subjects that come and go.

    The parts of a new subject are those of the look that found it, as in `infer`. For a followed subject the network
    runs in every frame on the region that its last parts give, also in a frame that is searched for new subjects: the
    finder's region of the same subject is coarser and in another place, so the parts would jump in every fifth frame,
    and identities rely on steady regions.

    Args:
        engine: the pose network.
        settings: of its runs.
        name: of the video, for results and messages.
        looks: the search for new subjects.
        most: subjects at a time; None: all.
    """

    def __init__(self, engine: Engine, settings: Settings, name: str, looks: Looks, most: int | None) -> None:
        super().__init__(engine, settings, name, None, None, True)
        self.looks, self.most = looks, most
        self.subjects: list[FollowedSubject] = []
        self.next_id = 0

    def begin(self, size: tuple[int, int]) -> None:
        """Begin with nobody, whatever the size of the frames."""
        del size

    def results(self, frames: Iterator[VideoFrame]) -> Iterator[Result]:
        """Yield one result per frame."""
        for frame in frames:
            passing = PassingImage(self.name, frame.image)
            yield self._result(frame, passing, {} if frame.damaged else self._follow(frame))
            passing.release()

    def state(self) -> dict[str, Any]:
        """Return the followed subjects as plain values, for a run that resumes."""
        return {"next_id": self.next_id, "subjects": [subject.to_dict() for subject in self.subjects]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Undo `state`; it can be wrong in any way, and then raises some error."""
        self.subjects = [FollowedSubject.from_dict(each) for each in state["subjects"]]
        self.next_id = int(state["next_id"])

    def _follow(self, frame: VideoFrame) -> dict[int, FoundPose]:
        """Return the pose of each subject that is seen, by its id."""
        image, now = frame.image, frame.index
        expected = [subject.moved(now) for subject in self.subjects]
        sightings = [Sighting(subject.region) for subject in expected]
        if now % FIND_EVERY == 0:
            # A subject lost before the previous frame may be found again at a place other than the expected one.
            seen = [each.region for each, was in zip(expected, self.subjects, strict=True) if was.frame == now - 1]
            found = looked(self.looks, self.engine, self.settings, image, f"frame {now} of {self.name}")
            new = [one for one in found if all(overlap(one.roi, other) <= KNOWN_OVERLAP for other in seen)]
            # Regions that the network has run on are on the grid already.
            sightings += [replace(one, roi=one.roi.on_grid()) for one in new]
        poses = self._poses(image, sightings, len(expected))
        alike = np.array([[one.alike(pose, now) for pose in poses] for one in expected]).reshape(
            len(expected), len(poses)
        )
        pairs = dict(best_pairs(alike, LEAST_ALIKE))
        followed: dict[int, FoundPose] = {}
        kept: list[FollowedSubject] = []
        for place, (subject, there) in enumerate(zip(self.subjects, expected, strict=True)):
            if place in pairs:
                pose = poses[pairs[place]]
                others = [each.parts for each in expected if each.id != subject.id]
                crowded = any(shared(there.parts, other) > CROWDED_SHARE for other in others)
                kept.append(subject.seen_as(pose, now, crowded))
                followed[subject.id] = pose
            elif now - subject.frame <= LOST_FRAMES and _has_middle_in(there.region, image):
                kept.append(subject)
        taken = set(pairs.values())
        for place, pose in enumerate(poses):
            regions = [subject.region for subject in kept]
            known = any(overlap(pose.region, region) > KNOWN_OVERLAP for region in regions)
            # A small pose within a followed one, or one with a higher score, was found on a limb of that subject.
            larger = [other for i, other in enumerate(poses) if i in taken or i < place]
            known = known or any(nested_in(sure_of(pose), sure_of(other)) for other in larger)
            if place not in taken and pose.new and not known and len(kept) != self.most:
                parts, center = sure_of(pose), pose.region.center
                kept.append(
                    FollowedSubject(self.next_id, pose.region, parts, np.zeros(2), pose.colors, now, center, now)
                )
                followed[self.next_id] = pose
                self.next_id += 1
        self.subjects = kept
        return followed

    def _poses(self, image: np.ndarray, sightings: Sequence[Sighting], known: int) -> list[FoundPose]:
        """Return the poses in regions, the first `known` of which are followed; one pose per subject, the best."""
        config, limbs = self.engine.config, self.engine.config.skeleton.limb_indices
        poses: list[FoundPose] = []
        found = look(self.engine, self.settings, image, sightings)
        for place, (roi, one) in enumerate(zip([each.roi for each in sightings], found, strict=True)):
            parts, scores = roi.to_image(one.parts_box[-1], config.input_size), one.scores[-1]
            region = about_parts(parts, scores, config.margin, roi if place < known else None)
            if region is not None:
                sure = np.where(sure_parts(parts, scores)[:, None], parts, np.nan)
                colors = limb_colors(image, sure, limbs)
                poses.append(FoundPose(roi, one, parts, scores, region, colors, place >= known))
        poses.sort(key=lambda pose: -float(np.nanmean(pose.scores)))
        kept: list[FoundPose] = []
        for pose in poses:
            if all(_same(pose, other) < SAME_POSE for other in kept):
                kept.append(pose)
        return kept

    def _result(self, frame: VideoFrame, passing: PassingImage, seen: Mapping[int, FoundPose]) -> Result:
        poses = [seen[key] for key in sorted(seen)]
        source = "found" if all(pose.new for pose in poses) else "parts"
        found, rois = [pose.found for pose in poses], [pose.seen for pose in poses]
        config, maps = self.engine.config, self.settings.belief_maps
        result = make_result(found, rois, config, passing, size_of(frame), source, maps, frame.decode)
        return of_frame(result, frame, sorted(seen))


def sure_of(pose: FoundPose) -> np.ndarray:
    """Return the parts [P, 2] of which the network was sure, NaN for the others."""
    return np.where(sure_parts(pose.parts, pose.scores)[:, None], pose.parts, np.nan)


def _json_rows(values: np.ndarray) -> list[list[float | None]]:
    return [[float(value) if np.isfinite(value) else None for value in row] for row in values]


def _same(pose: FoundPose, other: FoundPose) -> float:
    return sameness(sure_of(pose), sure_of(other), min(pose.region.side, other.region.side))


def _has_middle_in(region: Roi, image: np.ndarray) -> bool:
    """Return whether the middle of a region is in an image."""
    x, y = region.center
    return 0 <= x < image.shape[1] and 0 <= y < image.shape[0]
