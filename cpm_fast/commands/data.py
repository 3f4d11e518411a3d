"""`cpm-fast data check`: every sample is read once, odd ones are reported, and nine are drawn."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from cpm_fast.data.check import Check, Checker, thumbnails
from cpm_fast.data.open import open_dataset
from cpm_fast.data.sample import Dataset
from cpm_fast.results.drawing import write_picture
from cpm_fast.system.files import atomic_write
from cpm_fast.system.output_folder import reserved
from cpm_fast.system.progress import bar_wanted

REPORT = "check.json"
PICTURES = ("examples", "suspicious")


def check_data(options: argparse.Namespace) -> bool:
    """Run the verb; return whether every sample of every dataset could be read."""
    datasets = [open_dataset(spec) for spec in options.data]
    stems = _stems(datasets)
    names = [f"{stem}-{what}.png" for stem in stems for what in PICTURES]
    with reserved(Path(options.output), [REPORT, *names]):
        return _check(datasets, stems, Path(options.output))


def _stems(datasets: Sequence[Dataset]) -> list[str]:
    """Return what the files of each dataset begin with."""
    several = len(datasets) > 1
    return [re.sub(r"\W+", "-", dataset.name) + f"-{i}" * several for i, dataset in enumerate(datasets, 1)]


def _check(datasets: Sequence[Dataset], stems: Sequence[str], output: Path) -> bool:
    checks, written = [], []
    for dataset, stem in zip(datasets, stems, strict=True):
        checker = Checker(dataset)
        for index in tqdm(range(len(dataset)), desc=dataset.name, unit="sample", disable=not bar_wanted()):
            checker.look(index)
        checks.append(checker.check)
        print(checker.check.report())
        for what, indices in zip(PICTURES, (range(len(dataset)), checker.check.suspicious), strict=True):
            picture = thumbnails(dataset, indices) if len(indices) else None
            if picture is not None:
                written.append(output / f"{stem}-{what}.png")
                write_picture(picture, written[-1])
    written.append(_save(checks, output))
    print("wrote " + ", ".join(str(path) for path in written))
    return all(check.fine for check in checks)


def _save(checks: list[Check], output: Path) -> Path:
    with atomic_write(output / REPORT) as file:
        file.write(json.dumps([check.to_dict() for check in checks], indent=1).encode())
    return output / REPORT
