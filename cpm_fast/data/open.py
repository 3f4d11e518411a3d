"""Which dataset a word or a path on the command line means."""

from __future__ import annotations

from pathlib import Path

from cpm_fast.data.lsp import LeedsSports
from cpm_fast.data.sample import Dataset
from cpm_fast.data.synthetic import DrawnFigures
from cpm_fast.data.table import PartsTable

SYNTHETIC_COUNT = 8000


def open_dataset(spec: str | Path) -> Dataset:
    """A dataset by path or word.

    Args:
        spec: "synthetic" or "synthetic:COUNT" or "synthetic:COUNT:SEED" (drawn figures), a folder of LSP or
            LSP-extended (joints.mat and images/), a CSV file of one's own, or a folder that holds one CSV file.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: nothing that is known.
    """
    word, *numbers = str(spec).split(":")
    if word == "synthetic":
        if len(numbers) > 2 or not all(number.isdigit() for number in numbers):
            raise ValueError(f"data must be synthetic, synthetic:COUNT or synthetic:COUNT:SEED, got {spec!r}")
        count, seed = [int(number) for number in numbers] + [SYNTHETIC_COUNT, 0][len(numbers) :]
        return DrawnFigures(count, seed)
    path = Path(spec)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder (data may also be the word synthetic)")
    if path.suffix.lower() == ".csv":
        return PartsTable(path)
    if (path / "joints.mat").is_file():
        return LeedsSports(path)
    tables = sorted(path.glob("*.csv")) if path.is_dir() else []
    if len(tables) == 1:
        return PartsTable(tables[0])
    raise ValueError(
        f"{path}: data must be a CSV file, a folder with one CSV file, or a folder with joints.mat and images/; "
        f"it holds {len(tables)} CSV files"
    )
