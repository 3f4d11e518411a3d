"""The inputs of `cpm-fast infer`: pictures or videos, from the paths, folders and addresses on its command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cpm_fast.commands.options.common import STDIN
from cpm_fast.data.formats.coco import coco_pictures
from cpm_fast.media.image import shown
from cpm_fast.media.sources import Source, files_of, list_folder
from cpm_fast.media.video_files import VIDEO_SUFFIXES, is_video_file
from cpm_fast.system.ranks import launched
from cpm_fast.system.urls import is_live


@dataclass(frozen=True)
class Inputs:
    """Pictures, or videos.

    Args:
        pictures: paths, and a Source for the picture from stdin.
        several: whether there are several, or a folder; then a file that can't be read is left out.
        videos: paths, addresses, or the number of a camera.
        coco_file: the annotation file that names the pictures.
    """

    pictures: Sequence[Path | Source] = ()
    several: bool = False
    videos: Sequence[Path | str | int] = ()
    coco_file: Path | None = None


def inputs_of(options: argparse.Namespace) -> Inputs:
    """Sort the inputs that the options name.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: they name nothing, pictures and videos, or a camera and something else; a folder has neither; or an
            option is not for what they name.
    """
    given: list[Path | str] = options.pictures
    if options.camera is not None and given:
        raise ValueError(f"--camera must come alone, got {given[0]} too")
    if options.camera is None and not given:
        raise ValueError("name pictures, folders of them, videos, or a --camera")
    inputs = Inputs(videos=[options.camera]) if options.camera is not None else _sorted(given, options.recursive)
    if inputs.pictures and inputs.videos:
        raise ValueError(
            f"inputs must be pictures or videos, not both, got {_name_of(inputs.pictures[0])} and {inputs.videos[0]}; "
            "use two commands"
        )
    _check_options(options, inputs)
    return inputs


def _sorted(given: Sequence[Path | str], recursive: bool) -> Inputs:
    pictures: list[Path | Source] = []
    videos: list[Path | str | int] = []
    several, coco_file = len(given) > 1, None
    for item in given:
        if item == STDIN:
            pictures.append(Source("stdin", sys.stdin.buffer.read()))
        elif isinstance(item, str):
            videos.append(item)
        elif item.is_dir():
            several = True
            films = files_of(item, VIDEO_SUFFIXES, recursive)
            try:
                # A broken link in the folder is reported as a picture that can't be read.
                pictures += [Source(shown(path), path) for path in list_folder(item, recursive)]
            except ValueError:
                if not films:
                    raise
                videos += films
        elif not item.exists():
            raise FileNotFoundError(f"{item}: no such image or folder")
        elif item.suffix.lower() == ".json":
            if coco_file is not None:
                raise ValueError(f"one COCO file must name the pictures, got {coco_file} and {item}")
            several, coco_file = True, item
            pictures += [Source(shown(path), path) for path in coco_pictures(item)]
        else:
            (videos if is_video_file(item) else pictures).append(item)
    return Inputs(pictures, several, videos, coco_file)


def _name_of(picture: Path | Source) -> str:
    return picture.name if isinstance(picture, Source) else str(picture)


def _check_options(options: argparse.Namespace, inputs: Inputs) -> None:
    """Refuse options that do not apply to these inputs."""
    if options.boxes is not None and options.box is not None:
        raise ValueError("--box and --boxes can't both be given")
    if options.box_category is not None and options.boxes is None:
        raise ValueError("--box-category is for --boxes")
    if not inputs.videos:
        for name in ("smooth", "frames"):
            if getattr(options, name):
                raise ValueError(f"--{name} is for videos and cameras")
        if options.box is not None and inputs.several:
            raise ValueError("--box must come with one picture or video; for several give a file of --boxes")
        return
    if options.stages:
        raise ValueError("--stages is for pictures")
    if options.boxes is not None:
        raise ValueError("--boxes is for pictures; --box says where a subject is in a video's first frame")
    if options.box is not None and len(inputs.videos) > 1:
        raise ValueError(f"--box must come with one picture or video, got {len(inputs.videos)} videos")
    if options.frames is not None and not 1 <= options.frames <= sys.maxsize:
        raise ValueError(f"--frames must be at least 1 and at most {sys.maxsize}, got {options.frames}")
    if options.resume and any(isinstance(video, int) or is_live(video) for video in inputs.videos):
        raise ValueError("--resume is for files: frames of a camera can't be read again")
    if launched().world > 1:
        raise ValueError("a video is followed by one process, frame after frame: start it without torchrun")
