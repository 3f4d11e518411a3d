"""The findings of inference: one Result per image, Results for all, with their pictures and files."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, overload

import cv2
import numpy as np

from cpm_fast.media.image import read_image
from cpm_fast.model.crops import warp
from cpm_fast.results import drawing as draw
from cpm_fast.results.entry import Entry
from cpm_fast.results.formats.files import load_entries, save_entries
from cpm_fast.results.formats.json import to_entry
from cpm_fast.results.marks import is_person, mark_subject, with_legend
from cpm_fast.system.numbers import check_score

STRIP_BORDER = 128
# Most images that a notebook shows.
SHOWN_ROWS = 20


class ImageSource(Protocol):
    """The source of a result's image."""

    @property
    def name(self) -> str: ...

    def read(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Timing:
    """Seconds of each step for one image; steps overlap, so that their sum can exceed the time that passed.

    Args:
        decode: reading the file and decoding it.
        crop: cutting the network's boxes out.
        network: forward passes; crops share their batch's evenly.
        peaks: merging maps and finding peaks, and fetching them from the device.
    """

    decode: float = 0.0
    crop: float = 0.0
    network: float = 0.0
    peaks: float = 0.0

    def __add__(self, other: Timing) -> Timing:
        return Timing(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, eq=False, repr=False)
class Result(Entry):
    """The N subjects of one image.

    Args:
        keypoints: [N, P, 2] float32, (x, y) pixels of the image, 0-based; NaN where there is none.
        scores: [N, P] float32, the height of the belief peak: about 1 where the network is sure, near 0 where not.
        skeleton: the P parts.
        name: of the image: its path, or "image 0".
        size: (height, width) of the image; None when read from CSV, which doesn't hold it.
        rois: the N regions that the network saw; none when read from CSV.
        roi_source: "whole image", "boxes", "rois", "found" (by a search), or in a video "parts" (those of the frame
            before).
        belief_maps: [N, T, P+1, h, w] float32 of every stage, if they were requested.
        box_size: (height, width) of the network's box, which each region fills.
        cell_offset: cell g of a map stands at box pixel 8 g + cell_offset.
        margin: of the network: a region is this many times as large as the box of its subject.
        source: the image, read again to draw it; without it, `name` is taken as a file's path.
        timing: seconds of each step; None when read from a file.
        frame: number of a video's frame, from 0.
        seconds: time of that frame, from the start of the video.
        ids: number of each subject in a video, which it keeps while it is followed; otherwise none.

    Examples:
        >>> from cpm_fast.skeleton import Skeleton
        >>> skeleton = Skeleton("stick", ("top", "bottom"))
        >>> points, scores = np.array([[[3, 4], [3, 9]]], np.float32), np.array([[0.9, 0.8]], np.float32)
        >>> result = Result(points, scores, skeleton, "stick.png", size=(20, 10))
        >>> len(result), result.keypoints[0, skeleton.index("bottom")].tolist()
        (1, [3.0, 9.0])
    """

    source: ImageSource | None = field(default=None, repr=False)
    timing: Timing | None = field(default=None, repr=False)

    @classmethod
    def of(cls, entry: Entry) -> Result:
        """Make a result of an entry that was read from a file."""
        return cls(**{each.name: getattr(entry, each.name) for each in fields(Entry)})

    def image(self) -> np.ndarray:
        """Read the image again from its source: [H, W, 3] uint8 BGR.

        Raises:
            FileNotFoundError: the file is gone, or this result was read from a file and has no image.
        """
        return read_image(self.name) if self.source is None else self.source.read()

    def plot(
        self,
        path: str | Path | None = None,
        *,
        min_score: float = draw.MIN_SCORE,
        details: bool = False,
        legend: bool | None = None,
    ) -> np.ndarray:
        """Draw every subject's skeleton on the image; several subjects with their numbers, each in its color.

        In a video numbers and colors are those of `ids`.

        Args:
            path: file to write the picture to as well; its suffix decides the format.
            min_score: parts below it are left out.
            details: also draw every subject's box, and its mean score.
            legend: add the names of the parts by their colors, to the right of the image; if not given, only for parts
                that are not a person's.

        Returns:
            [H, W, 3] uint8 BGR, wider than the image with a legend.

        Raises:
            ValueError: min_score is not a finite number up to 1.
        """
        picture = self.drawn(self.image(), min_score=min_score, details=details)
        if (not is_person(self.skeleton)) if legend is None else legend:
            picture = with_legend(picture, self.skeleton)
        return draw.write_picture(picture, path)

    def drawn(self, image: np.ndarray, *, min_score: float = draw.MIN_SCORE, details: bool = False) -> np.ndarray:
        """Draw the same on a given image, without a legend: [H, W, 3] uint8 BGR."""
        check_score(min_score, "min_score")
        picture = image.copy()
        for i, (keypoints, scores) in enumerate(zip(self.keypoints, self.scores, strict=True)):
            side = self.rois[i].side if self.rois else None
            picture = draw.skeleton_overlay(picture, keypoints, scores, self.skeleton, min_score=min_score, side=side)
        for i in range(len(self)) if details or max(self.numbers, default=0) > 0 else ():
            shown = np.isfinite(self.keypoints[i]).all(axis=1) & (self.scores[i] >= min_score)
            known = self.keypoints[i][shown]
            if not len(known) and not (details and self.rois):
                continue
            box = self.boxes[i] if self.rois else (*known.min(axis=0).tolist(), *known.max(axis=0).tolist())
            score = f" {np.nanmean(self.scores[i]):.2f}" if details and np.isfinite(self.scores[i]).any() else ""
            mark_subject(picture, box, f"{self.numbers[i]}{score}", self.numbers[i], outlined=details)
        return picture

    def to_dict(self) -> dict[str, Any]:
        """Return this result as plain values: name, size, and subjects with their parts by name.

        A part is [x, y, score], image pixels; None stands for NaN.

        Examples:
            >>> from cpm_fast.skeleton import Skeleton
            >>> tip = Result(np.array([[[1.5, 2]]]), np.array([[0.5]]), Skeleton("tip", ("tip",)), "a.png", (8, 9))
            >>> tip.to_dict()["subjects"][0]["parts"]
            {'tip': [1.5, 2.0, 0.5]}
        """
        entry = to_entry(self)
        for subject in entry["subjects"]:
            subject["parts"] = dict(zip(self.skeleton.names, subject["parts"], strict=True))
        return entry

    def to_json(self) -> str:
        """Return `to_dict` as JSON, for the answer of a server."""
        return json.dumps(self.to_dict(), allow_nan=False, ensure_ascii=False)

    def __repr__(self) -> str:
        """Return the image's name, the number of subjects and the mean score."""
        known = self.scores[np.isfinite(self.scores)]
        sure = f", mean score {known.mean():.2f}" if len(known) else ""
        frame = "" if self.frame is None else f", frame {self.frame}"
        return f"Result({self.name!r}{frame}, {len(self)} subjects, {len(self.skeleton)} parts{sure})"

    def _repr_png_(self) -> bytes | None:
        """Return the picture with its poses for a notebook; None if the image is gone."""
        try:
            return bytes(cv2.imencode(".png", self.plot())[1])
        except (OSError, ValueError):
            return None

    def plot_stages(
        self,
        path: str | Path | None = None,
        *,
        part: str | Sequence[str] | None = None,
        subject: int = 0,
        min_score: float = draw.MIN_SCORE,
    ) -> np.ndarray:
        """Draw the beliefs stage by stage: the crop with its pose, then the maps of stages 1 to T over it.

        Args:
            path: file to write the picture to as well.
            part: one or more part names, one row each; None or "all parts" is one row for all of them.
            subject: index of one of the N.
            min_score: parts below it are left out of the pose.

        Returns:
            [height, width, 3] uint8 BGR.

        Raises:
            ValueError: the belief maps were not kept, there is no such part or subject, or min_score is above 1.
        """
        check_score(min_score, "min_score")
        if self.belief_maps is None:
            raise ValueError("plot_stages needs the belief maps: infer(..., belief_maps=True)")
        if not 0 <= subject < len(self):
            raise ValueError(f"subject must be from 0 to {len(self) - 1}, got {subject}")
        roi = self.rois[subject]
        picture = draw.stage_strip(
            warp(self.image(), roi.matrix(self.box_size), self.box_size, STRIP_BORDER),
            self.belief_maps[subject],
            self.skeleton,
            part,
            keypoints=roi.to_box(self.keypoints[subject], self.box_size),
            scores=self.scores[subject],
            cell_offset=self.cell_offset,
            min_score=min_score,
        )
        return draw.write_picture(picture, path)

    def save(
        self,
        path: str | Path,
        *,
        form: str | None = None,
        min_score: float | None = None,
        coco_file: str | Path | None = None,
    ) -> None:
        """Write this result alone; see `Results.save`."""
        Results([self]).save(path, form=form, min_score=min_score, coco_file=coco_file)


class Results(Sequence[Result]):
    """The results of all images, in order.

    Args:
        results: one per image.
        failures: name of an image that could not be read -> reason.

    Examples:
        >>> from cpm_fast.data.drawn.synthetic import DrawnFigures
        >>> from cpm_fast.inference.images import infer
        >>> results = infer(DrawnFigures(1)[0].image, model="compact-drawn", device="cpu")
        >>> len(results), results.failures
        (1, {})
    """

    def __init__(self, results: Sequence[Result] = (), failures: Mapping[str, str] | None = None) -> None:
        self._results = tuple(results)
        self.failures = dict(failures or {})

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> Results: ...
    def __getitem__(self, index: int | slice) -> Result | Results:
        if isinstance(index, slice):
            return Results(self._results[index], self.failures)
        return self._results[index]

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    def __repr__(self) -> str:
        subjects = sum(len(result) for result in self)
        return f"Results({len(self)} images, {subjects} subjects, {len(self.failures)} failures)"

    def _repr_html_(self) -> str:
        """Return a table for a notebook: a row for each of the first images."""
        rows = "".join(
            f"<tr><td>{html.escape(result.name)}</td><td>{len(result)}</td><td>{_mean_text(result.scores)}</td></tr>"
            for result in self[:SHOWN_ROWS]
        )
        more = f"<p>and {len(self) - SHOWN_ROWS} more</p>" if len(self) > SHOWN_ROWS else ""
        failed = f"<p>{len(self.failures)} could not be read</p>" if self.failures else ""
        head = "<tr><th>image</th><th>subjects</th><th>mean score</th></tr>"
        return f"<table>{head}{rows}</table>{more}{failed}"

    def save(
        self,
        path: str | Path,
        *,
        form: str | None = None,
        min_score: float | None = None,
        coco_file: str | Path | None = None,
    ) -> None:
        """Write all results, whole or not at all.

        .json holds everything but belief maps, box geometry and timing, .npz the belief maps and geometry too, .csv
        one row per subject with the columns image (its path, relative to the table), subject, left, top, right, bottom
        (the network's margin about this box gives the region) and <part>_x, <part>_y, <part>_score. A missing
        number is null, NaN or an empty cell. Training reads such a table; give it a min_score, so that absent parts are
        not learned.

        Args:
            path: of the file; its suffix decides the format.
            form: "coco" for a list that COCO's tools read as results; "openpose" for OpenPose's files: for one image
                a .json file, otherwise a folder of them. `load` does not read these two.
            min_score: parts below it are written as absent, with their score; all are written if not given.
            coco_file: for the form "coco": the annotation file of the pictures, from which the results take the ids of
                images and category.

        Raises:
            ValueError: there is no such suffix or form, the results have several skeletons, a picture is not in the
                coco_file, or min_score is above 1.
        """
        if min_score is not None:
            check_score(min_score, "min_score")
        entries = self if min_score is None else [result.surer_than(min_score) for result in self]
        save_entries(entries, self.failures, Path(path), form, coco_file)

    @classmethod
    def load(cls, path: str | Path) -> Results:
        """Read a file of `save`. Images are not in it: `plot` looks for them by name.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the suffix is another, or the file is not of this format; the message names it.
        """
        entries, failures = load_entries(Path(path))
        return cls([Result.of(entry) for entry in entries], failures)


def _mean_text(scores: np.ndarray) -> str:
    known = scores[np.isfinite(scores)]
    return f"{known.mean():.2f}" if len(known) else ""
