"""A reader of files under a coverage-guided fuzzer (atheris: libFuzzer for Python).

    pip install atheris
    python benchmarks/checks/fuzz.py csv -max_total_time=300 -timeout=20 -rss_limit_mb=4096 [CORPUS]

The kinds of files are those of `hostile.py`, and so is the starting point: a valid file. The reader may only give a
result or raise an error that names the file. The readers of weights, with starting points of every form, are in
tests/weights/importers/fuzz_readers.py.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(
    include=["cpm_fast.data", "cpm_fast.labeling", "cpm_fast.media", "cpm_fast.results", "cpm_fast.skeleton"]
):
    from benchmarks.checks.hostile import ALLOWED, BINARY, FORMS, IMAGES, TEXTS, valid_input

KINDS = (*FORMS, *TEXTS, *IMAGES, *BINARY)


def main() -> None:
    """Fuzz the kind that the first argument names; the other arguments are for libFuzzer."""
    if len(sys.argv) < 2 or sys.argv[1] not in KINDS:
        sys.exit(f"the first argument must be one of {' '.join(KINDS)}")
    kind, options = sys.argv[1], sys.argv[2:]
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as place:
        name, data, read = valid_input(kind, Path(place))
        start = Path(place) / "start"
        start.mkdir()
        (start / "valid").write_bytes(data)

        def once(wrong: bytes) -> None:
            try:
                read(wrong)
            except ALLOWED as error:
                if name not in str(error):
                    raise AssertionError(f"must name {name}, got: {error}") from error

        atheris.Setup([sys.argv[0], *options, str(start)], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
