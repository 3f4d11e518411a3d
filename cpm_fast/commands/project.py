"""`cpm-fast project`: one folder for frames, labels and training runs."""

from __future__ import annotations

import argparse
import re
import shlex

from cpm_fast.labeling.folder import list_pictures
from cpm_fast.labeling.naming import find_skeleton
from cpm_fast.labeling.project import PROJECT_FILE, Project, new_project, read_project
from cpm_fast.labeling.table import EMPTY, LabelTable
from cpm_fast.skeleton import BUILT_IN, Skeleton

OPTION_NAME = re.compile("[a-z][a-z_-]*")


def new(options: argparse.Namespace) -> bool:
    """Make the folder."""
    skeleton = BUILT_IN.get(options.skeleton) or Skeleton.from_toml(options.skeleton)
    project = new_project(options.folder, skeleton, tuple(options.videos))
    print(f"wrote {project.folder / PROJECT_FILE}, {project.frames_folder / 'skeleton.toml'}")
    print(f"put videos into {project.folder / 'videos'}, then: {_with_project('frames', project)}")
    return True


def show(options: argparse.Namespace) -> bool:
    """Print the state."""
    project = read_project(options.folder)
    pictures = list_pictures(project.frames_folder) if project.frames_folder.is_dir() else []
    states = _states(project)
    labeled = sum(state != EMPTY for state in states)
    print(f"project   {project.name}")
    print(f"pictures  {len(pictures)}, {labeled} labeled, {len(states) - labeled} without a subject")
    model = project.model()
    print(f"trainings {len(project.run_folders())}, the last weights: {model or 'none yet'}")
    verb = "frames" if not pictures else "label" if not labeled else "train" if model is None else "suggest"
    print(f"next      {_with_project(verb, project)}")
    return True


def train_arguments(options: argparse.Namespace) -> list[str]:
    """Return the options that `cpm-fast train --project` stands for: the project's [train], its labels, its next run.

    Raises:
        ValueError: a key of [train] is no option's name.
    """
    if options.resume:
        return []
    project = read_project(options.project)
    words = [] if options.data else ["--data", str(project.labels)]
    words += [] if options.output else ["--output", str(project.next_run())]
    for key, value in project.train.items():
        if not OPTION_NAME.fullmatch(key) or key in ("data", "output", "resume", "project"):
            raise ValueError(
                f"{project.folder / PROJECT_FILE}: [train] must hold options of cpm-fast train, got {key!r}"
            )
        if value is not False:
            words += [
                f"--{key.replace('_', '-')}",
                *map(str, value if isinstance(value, list) else [value] * (value is not True)),
            ]
    return words


def _states(project: Project) -> list[str]:
    if not project.labels.is_file():
        return []
    table = LabelTable(project.labels, find_skeleton(project.frames_folder, None, project.labels))
    return [state for name in table.rows if (state := table.state(name))]


def _with_project(verb: str, project: Project) -> str:
    return shlex.join(["cpm-fast", verb, "--project", str(project.folder)])
