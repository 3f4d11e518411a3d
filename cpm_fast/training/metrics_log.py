"""The log of a run's metrics: losses and scores of every stage by step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cpm_fast.system.files import atomic_write, naming, parse_json
from cpm_fast.system.limits import file_exists, open_to_append
from cpm_fast.system.numbers import is_whole

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """A file of one JSON object per line, each with its step; a last line that a kill cut short is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rewind(self, step: int, validated: int | None = None) -> None:
        """Keep the lines up to a step, and scores, which name their data, up to the step validated.

        A resumed run writes the rest.

        Raises:
            ValueError: a step is no number; the message names the file.
        """
        last_scores = step if validated is None else validated
        rows = list(self.rows())
        wrong = [row["step"] for row in rows if not is_whole(row["step"])]
        if wrong:
            raise ValueError(f"{self.path}: a step must be a whole number, got {wrong[0]!r:.60}")
        kept = [row for row in rows if row["step"] <= (last_scores if "data" in row else step)]
        with atomic_write(self.path) as file:
            file.write("".join(json.dumps(row) + "\n" for row in kept).encode())

    def write(self, row: dict[str, Any]) -> None:
        with naming(self.path), open_to_append(self.path) as file:
            file.write(json.dumps(row).encode() + b"\n")

    def rows(self) -> Iterator[dict[str, Any]]:
        if not file_exists(self.path):
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = parse_json(line)
            except ValueError:
                return
            if not isinstance(row, dict) or "step" not in row:
                return
            yield row
