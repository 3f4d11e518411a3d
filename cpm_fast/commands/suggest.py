"""`cpm-fast suggest`: the pictures to label next."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import numpy as np

from cpm_fast.inference.unfinished import fingerprint
from cpm_fast.labeling.folder import PRIVATE, list_pictures
from cpm_fast.labeling.frames import read_manifest, small_gray
from cpm_fast.labeling.naming import find_skeleton
from cpm_fast.labeling.predictions import FolderPredictions, in_part_order
from cpm_fast.labeling.project import read_project
from cpm_fast.labeling.ranking import contact_sheet, examine, jumps, novelty, rank, readable, save_table
from cpm_fast.labeling.store import LABELS_FILE
from cpm_fast.labeling.table import LabelTable
from cpm_fast.results.drawing import write_picture
from cpm_fast.system.progress import bar_wanted
from cpm_fast.weights import load

TABLE, SHEET = "suggestions.csv", "suggestions.png"


def run(options: argparse.Namespace) -> bool:
    """Run the verb; return whether there was something to suggest."""
    folder, weights, output = options.folder, options.model, options.output
    if options.project is not None:
        project = read_project(options.project)
        folder, weights = folder or project.frames_folder, weights or project.model()
        output = output or project.next_run("suggest")
    if folder is None or weights is None:
        raise ValueError("folder and --model must be given, or a --project with a finished training")
    if options.count < 1:
        raise ValueError(f"--count must be at least 1, got {options.count}")
    output = output or Path("runs/suggest")
    model = load(weights, device=options.device)
    names = list_pictures(folder)
    skeleton = find_skeleton(folder, None, folder / LABELS_FILE, model.skeleton)
    table = LabelTable(folder / LABELS_FILE, skeleton)
    left = [name for name in names if table.state(name) is None]
    if not left:
        print(f"{folder}: every one of {len(names)} pictures is labeled; cpm-fast frames takes more out of videos")
        return False
    mirror = "mirrored" in options.by if options.by else bool(skeleton.pairs)
    candidates = examine(folder, left, model, mirror, bar_wanted())
    if not candidates:
        raise ValueError(f"{folder}: none of its {len(left)} pictures without labels can be read")
    jumps(candidates, read_manifest(folder))
    done = [name for name in names if table.state(name) is not None]
    novelty(candidates, np.array([small_gray(picture) for _, picture in readable(folder, done)]))
    picked = rank(candidates, options.count, dict.fromkeys(options.by, 1.0) if options.by else None)
    output.mkdir(parents=True, exist_ok=True)
    save_table(picked, output / TABLE)
    write_picture(contact_sheet(folder, picked, model.skeleton), output / SHEET)
    private = folder / PRIVATE
    private.mkdir(exist_ok=True)
    predictions = FolderPredictions(private, skeleton, fingerprint(model))
    for candidate in candidates:
        predictions.put(candidate.image, in_part_order(candidate.result, skeleton))
    predictions.save()
    print(f"{len(picked)} of {len(left)} pictures without labels")
    print(f"wrote {output / TABLE}, {output / SHEET}, {predictions.path}")
    print("label them:", shlex.join(["cpm-fast", "label", str(folder), "--only", str(output / TABLE)]))
    return True
