"""`cpm-fast data check`: every sample is read once, odd ones are reported, and nine are drawn."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from tqdm import tqdm

from cpm_fast.data.check import Check, Checker, thumbnails
from cpm_fast.data.open import open_dataset
from cpm_fast.results.drawing import write_picture
from cpm_fast.system.files import atomic_write
from cpm_fast.system.progress import bar_wanted


def check_data(options: argparse.Namespace) -> bool:
    """Run the verb; return whether every sample of every dataset could be read."""
    datasets = [open_dataset(spec) for spec in options.data]
    output = Path(options.output)
    checks, written = [], []
    for number, dataset in enumerate(datasets):
        checker = Checker(dataset)
        for index in tqdm(range(len(dataset)), desc=dataset.name, unit="sample", disable=not bar_wanted()):
            checker.look(index)
        checks.append(checker.check)
        print(checker.check.report())
        stem = re.sub(r"\W+", "-", dataset.name) + (f"-{number + 1}" if len(datasets) > 1 else "")
        pictures = (("examples", range(len(dataset))), ("suspicious", checker.check.suspicious))
        for what, indices in pictures:
            picture = thumbnails(dataset, indices) if len(indices) else None
            if picture is not None:
                output.mkdir(parents=True, exist_ok=True)
                written.append(output / f"{stem}-{what}.png")
                write_picture(picture, written[-1])
    written.append(_save(checks, output))
    print("wrote " + ", ".join(str(path) for path in written))
    return all(check.fine for check in checks)


def _save(checks: list[Check], output: Path) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    with atomic_write(output / "check.json") as file:
        file.write(json.dumps([check.to_dict() for check in checks], indent=1).encode())
    return output / "check.json"
