"""`cpm-fast frames`: pictures worth labeling out of videos."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from cpm_fast.labeling.frames import MANIFEST, UNCERTAINTY, take_frames
from cpm_fast.labeling.project import read_project
from cpm_fast.system.progress import bar_wanted
from cpm_fast.weights import load


def run(options: argparse.Namespace) -> bool:
    """Run the verb; return whether every video gave frames."""
    videos, output, weights = list(options.videos), options.output, options.model
    if options.project is not None:
        project = read_project(options.project)
        videos, output = videos or project.video_files(), output or project.frames_folder
        weights = weights or (project.model() if options.by == UNCERTAINTY else None)
    if not videos:
        raise ValueError("videos must be given, or a --project that names them")
    output = output or Path("runs/frames")
    model = load(weights) if weights is not None and options.by == UNCERTAINTY else None
    if options.model is not None and options.by != UNCERTAINTY:
        raise ValueError(f"--model must come with --by {UNCERTAINTY}, got --by {options.by}")
    fine = True
    for video in tqdm(videos, desc="frames", unit="video", disable=not bar_wanted()):
        try:
            frames = take_frames(video, output, options.count, by=options.by, model=model, seed=options.seed)
        except (OSError, ValueError) as error:
            if len(videos) == 1:
                raise
            print(f"failed: {error}", file=sys.stderr)
            fine = False
            continue
        fewer = "" if len(frames) == options.count else "; the others look like these, or like earlier ones"
        print(f"{video}: {len(frames)} new frames{fewer}")
    print(f"wrote {output / MANIFEST}")
    return fine
