"""`cpm-fast data convert`: labels from other programs and to other programs."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from cpm_fast.labeling.convert import export_coco, export_deeplabcut, import_labels, write_deeplabcut
from cpm_fast.labeling.store import LABELS_FILE
from cpm_fast.results import Results
from cpm_fast.system.progress import bar_wanted

LABELS, COCO = "labels", "coco"


def run(options: argparse.Namespace) -> bool:
    """Run the verb."""
    source = Path(options.source)
    if options.to == LABELS:
        pictures, subjects = import_labels(options.source, options.output, bar_wanted())
        print(f"{pictures} pictures, {subjects} subjects")
        print(f"wrote {options.output / LABELS_FILE}")
        print("next:", shlex.join(["cpm-fast", "label", str(options.output)]))
        return True
    if options.to == COCO:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        export_coco(source, options.output)
        written = [options.output]
    elif source.is_dir():
        written = export_deeplabcut(source, options.output, options.scorer)
    else:
        written = _predictions(source, options.output, options.scorer)
    print("wrote " + ", ".join(map(str, written)))
    return True


def _predictions(source: Path, output: Path, scorer: str) -> list[Path]:
    """Convert results of infer to a table of DeepLabCut, with likelihood."""
    import numpy as np

    results = Results.load(source)
    if not len(results):
        raise ValueError(f"{source}: must hold results, got none")
    several = max(len(result) for result in results)
    parts = results[0].skeleton.names
    rows = []
    for place, result in enumerate(results):
        values = np.full((several, len(parts), 3), np.nan)
        values[: len(result), :, :2], values[: len(result), :, 2] = result.keypoints, np.clip(result.scores, 0, 1)
        name = str(place if result.frame is None else result.frame) if result.frame is not None else result.name
        rows.append(((name,), values.ravel()))
    output.mkdir(parents=True, exist_ok=True)
    file = output / f"{source.stem}DLC_{scorer}.csv"
    if file.exists():
        raise FileExistsError(f"{file}: exists already; give another -o")
    owners = [f"animal{number + 1}" for number in range(several)] if several > 1 else None
    return write_deeplabcut(file, scorer, owners, parts, ("x", "y", "likelihood"), rows)
