"""Build, test, compare, time and tune on a machine with a GPU.

    python benchmarks/gpu_visit.py --minutes 8 --out DIR

Every step runs in its own process with its own time limit, and results.json in the folder is rewritten completely after
each, so that a visit may end at any instant; --resume DIR continues it. docs/measure-your-gpu.md has more.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The benchmarks share the case table of the tests.
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def main(arguments: list[str]) -> int:
    if "--worker" in arguments:
        from benchmarks.gpu.visit.worker import main as work

        return work(arguments)
    if arguments[:1] == ["--subject"]:
        from benchmarks.gpu.contests.counters import subject

        subject(arguments[1])()
        return 0
    from benchmarks.gpu.visit.run import main as visit

    return visit(arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
