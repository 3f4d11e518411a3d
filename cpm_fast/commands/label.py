"""`cpm-fast label`: the page on which labels are made and corrected."""

from __future__ import annotations

import argparse
from pathlib import Path


def run(options: argparse.Namespace) -> bool:
    """Serve until Ctrl-C."""
    from cpm_fast.labeling.naming import find_skeleton
    from cpm_fast.labeling.server import serve
    from cpm_fast.labeling.store import LABELS_FILE, Store

    folder, weights = options.folder, options.model
    if options.project is not None:
        from cpm_fast.labeling.project import read_project

        project = read_project(options.project)
        folder, weights = folder or project.frames_folder, weights or project.model()
    if folder is None:
        raise ValueError("folder must be given, or a --project")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    model, network = None, None
    if weights:
        from cpm_fast.inference.unfinished import fingerprint
        from cpm_fast.weights import load

        model = load(weights, device=options.device)
        network = fingerprint(model)
    table = folder / LABELS_FILE
    skeleton = find_skeleton(folder, options.skeleton, table, None if model is None else model.skeleton)
    store = Store(folder, skeleton, network, only=options.only)
    predictor = None
    try:
        if model is not None:
            from cpm_fast.labeling.predictor import Predictor
            from cpm_fast.system.files import text_of_name

            predictor = Predictor(store, model, text_of_name(Path(weights).stem))
            predictor.start()
        labeled = len([name for name in store.names if store.table.state(name)])
        print(f"{len(store.names)} pictures, {labeled} labeled; labels go to {table}")
        serve(store, options.port, predictor)
    finally:
        if predictor is not None:
            predictor.stop()
        store.close()
    return True
