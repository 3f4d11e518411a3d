"""Projects: one folder for the whole loop, with skeleton, videos, frames, labels and runs."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cpm_fast.data.own_skeleton import SKELETON_FILE
from cpm_fast.labeling.naming import write_skeleton
from cpm_fast.labeling.store import LABELS_FILE
from cpm_fast.media.image import shown
from cpm_fast.media.video_files import VIDEO_SUFFIXES
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.files import atomic_write, is_utf8, text_of_name
from cpm_fast.system.limits import has_file
from cpm_fast.system.words import some_of

PROJECT_FILE = "project.toml"
MAX_FILE_BYTES = 65_536
FINAL = "final.safetensors"
KEYS = {"name": str, "videos": list, "frames": str, "runs": str, "train": dict}


@dataclass(frozen=True)
class Project:
    """The content of project.toml.

    Args:
        folder: of the project.
        name: of the project.
        videos: paths or patterns such as videos/*.mp4, relative to the folder.
        frames: folder of the pictures, with skeleton.toml and labels.csv.
        runs: folder of the trainings.
        train: options of `cpm-fast train`, by name, for instance epochs = 100.
    """

    folder: Path
    name: str
    videos: tuple[str, ...] = ("videos/*",)
    frames: str = "frames"
    runs: str = "runs"
    train: dict[str, Any] = field(default_factory=dict)

    @property
    def frames_folder(self) -> Path:
        return self.folder / self.frames

    @property
    def labels(self) -> Path:
        return self.frames_folder / LABELS_FILE

    def video_files(self) -> list[Path]:
        """Return the videos, patterns resolved; each once, in order.

        Raises:
            FileNotFoundError: a name that is no pattern is no file.
            ValueError: there is no video at all.
        """
        found: list[Path] = []
        for name in self.videos:
            if any(sign in name for sign in "*?["):
                found += sorted(path for path in self.folder.glob(name) if path.suffix.lower() in VIDEO_SUFFIXES)
            elif has_file(self.folder / name):
                found.append(self.folder / name)
            else:
                raise FileNotFoundError(f"{self.folder / name}: no such video; {PROJECT_FILE} names it")
        if not found:
            raise ValueError(f"{self.folder}: there must be a video that matches {list(self.videos)}; add some")
        return list(dict.fromkeys(found))

    def run_folders(self) -> list[Path]:
        """Return the folders of trainings, the oldest first."""
        found = (self.folder / self.runs).glob("train-*")
        return sorted((path for path in found if path.name[6:].isdigit()), key=lambda path: int(path.name[6:]))

    def model(self) -> Path | None:
        """Return the weights of the last finished training, or None."""
        ended = [run / FINAL for run in self.run_folders() if (run / FINAL).is_file()]
        return ended[-1] if ended else None

    def next_run(self, kind: str = "train") -> Path:
        """Return a folder that does not exist yet: runs/train-1, runs/train-2, ..."""
        number = 1
        while (self.folder / self.runs / f"{kind}-{number}").exists():
            number += 1
        return self.folder / self.runs / f"{kind}-{number}"


def read_project(path: Path) -> Project:
    """Return the project of a folder, or of its project.toml.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged or has unknown keys; the message names it.
    """
    file = path / PROJECT_FILE if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such project; cpm-fast project new NAME makes one")
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"it must have at most {MAX_FILE_BYTES} bytes")
        values = tomllib.loads(file.read_text(encoding="utf-8"))
        unknown = set(values) - set(KEYS)
        if unknown:
            raise ValueError(f"keys must be among {', '.join(KEYS)}, got {some_of(sorted(unknown))}")
        for key, value in values.items():
            if not isinstance(value, KEYS[key]):
                raise ValueError(f"{key} must be a {KEYS[key].__name__}, got {value!r:.60}")
        if not all(isinstance(name, str) for name in values.get("videos", ())):
            raise ValueError("videos must be a list of paths or patterns")
        for key in ("frames", "runs"):
            if Path(values.get(key, "")).is_absolute() or ".." in Path(values.get(key, "")).parts:
                raise ValueError(f"{key} must be a folder within the project, got {values[key]!r:.60}")
    except RecursionError:
        raise ValueError(f"{file}: it is nested too deeply") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: {error}") from None
    folder = file.parent
    given = {"name": folder.resolve().name, **values, "videos": tuple(values.get("videos", ["videos/*"]))}
    return Project(folder, **given)


def new_project(folder: Path, skeleton: Skeleton, videos: tuple[str, ...] = ("videos/*",)) -> Project:
    """Make a project's folder with project.toml, frames/skeleton.toml, videos/ and runs/.

    Raises:
        FileExistsError: the folder holds something.
        ValueError: the name of a video is not UTF-8, as project.toml is.
    """
    for name in videos:
        if not is_utf8(name):
            raise ValueError(f"videos must have names in UTF-8, got {shown(Path(name))}; rename it")
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder}: is not empty; a project begins in a new folder")
    project = Project(folder, text_of_name(folder.resolve().name), videos)
    for part in (project.frames_folder, folder / "videos", folder / project.runs):
        part.mkdir(parents=True, exist_ok=True)
    write_skeleton(skeleton, project.frames_folder / SKELETON_FILE)
    lines = [
        f"name = {json.dumps(project.name)}",
        "# Paths or patterns, relative to this file.",
        f"videos = {json.dumps(list(videos))}",
        "# Pictures, skeleton.toml and labels.csv.",
        f"frames = {json.dumps(project.frames)}",
        f"runs = {json.dumps(project.runs)}",
        "",
        "# Options of cpm-fast train, for instance epochs = 100 or rotate = 180.",
        "[train]",
        'init = "compact-lsp"',
        "",
    ]
    with atomic_write(folder / PROJECT_FILE) as file:
        file.write("\n".join(lines).encode())
    return project
