"""`cpm-fast label`: the page on which labels are made and corrected."""

from __future__ import annotations

import argparse
from pathlib import Path

PURPOSE = "label the pictures of a folder, or correct what a network found, in a page of this machine's browser"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("folder", type=Path, help="of the pictures; labels.csv there is read and written")
    parser.add_argument("--skeleton", help="parts to label: lsp, mpii, flic, coco, jhmdb or a .toml file (default: the "
                        "folder's skeleton.toml, its labels.csv, or the network's)")  # fmt: skip
    parser.add_argument("--model", help="weights whose predictions are shown: a .safetensors file or a bundled name")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s)")
    parser.add_argument("--port", type=int, help="of 127.0.0.1 (default: 8765, or the next that is free)")


def run(options: argparse.Namespace) -> bool:
    """Serve until Ctrl-C."""
    from cpm_fast.labeling.naming import find_skeleton
    from cpm_fast.labeling.server import serve
    from cpm_fast.labeling.store import LABELS_FILE, Store

    folder = options.folder
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    model, network = None, None
    if options.model:
        from cpm_fast.inference.unfinished import fingerprint
        from cpm_fast.weights import load

        model = load(options.model, device=options.device)
        network = fingerprint(model)
    table = folder / LABELS_FILE
    skeleton = find_skeleton(folder, options.skeleton, table, None if model is None else model.skeleton)
    store = Store(folder, skeleton, network)
    predictor = None
    try:
        if model is not None:
            from cpm_fast.labeling.predictor import Predictor

            predictor = Predictor(store, model, Path(options.model).stem)
            predictor.start()
        labeled = len([name for name in store.names if store.table.state(name)])
        print(f"{len(store.names)} pictures, {labeled} labeled; labels go to {table}")
        serve(store, options.port, predictor)
    finally:
        if predictor is not None:
            predictor.stop()
        store.close()
    return True
