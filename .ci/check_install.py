"""Check an installed wheel, by the Python that it is installed for.

    python .ci/check_install.py [--no-compiler]

The wheel must hold every file of the package and no other, its compiled module must work, and it must locate a drawn
figure. With --no-compiler, PATH must hold no compiler.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
COMPILERS = ("c++", "g++", "gcc", "clang++", "cl", "cmake", "ninja", "nvcc")
# A figure that no training has drawn; distances in shares of its height.
SEED, MOST_OFF = 987_654_321, 0.03


def sources() -> set[str]:
    """The files that a wheel must hold, as tracked: the package, and kernels/ under its import name."""
    found = set()
    for folder, name in ((ROOT / "cpm_fast", "cpm_fast"), (ROOT / "kernels", "cpm_fast/kernels")):
        for path in folder.rglob("*"):
            inside = path.relative_to(folder)
            built = path.suffix in (".so", ".pyd") or path.name == "_build_failure.txt" or "__pycache__" in inside.parts
            if path.is_file() and not built:
                found.add(str(PurePosixPath(name, *inside.parts)))
    return found


def check_files() -> None:
    files = {str(PurePosixPath(*file.parts)) for file in importlib.metadata.files("cpm_fast") or ()}
    package = {name for name in files if name.startswith("cpm_fast/") and not name.endswith(".pyc")}
    modules = {name for name in package if PurePosixPath(name).suffix in (".so", ".pyd")}
    missing, extra = sources() - package, package - modules - sources()
    others = {name for name in files - package if ".dist-info/" not in name and "cpm-fast" not in name}
    others -= {name for name in files if name.endswith(".pyc")}
    if missing or extra or others or len(modules) != 1:
        raise SystemExit(
            f"missing: {sorted(missing)}, extra: {sorted(extra)}, beside it: {sorted(others)}, compiled: {modules}"
        )
    print(f"{len(package)} files of the package, nothing beside it")


def check_pose() -> None:
    import numpy as np

    import cpm_fast
    from cpm_fast.data.drawn.synthetic import DrawnFigures
    from cpm_fast.ops.backend import available, native_missing

    if Path(cpm_fast.__file__).is_relative_to(ROOT):
        raise SystemExit(f"{cpm_fast.__file__} is of the sources, not of a wheel")
    if native_missing("cpu"):
        raise SystemExit(native_missing("cpu"))
    sample = DrawnFigures(1, SEED)[0]
    known = sample.parts_image[sample.labeled]
    box = [float(value) for value in (*known.min(axis=0), *known.max(axis=0))]
    (result,) = cpm_fast.infer(sample.image, model="compact-drawn", boxes=box)
    off = np.linalg.norm(result.keypoints[0][sample.labeled] - known, axis=1) / np.ptp(known[:, 1])
    print(f"half of the parts are within {np.median(off):.4f} figure heights; backends: {', '.join(available())}")
    if not np.median(off) < MOST_OFF:
        raise SystemExit(f"the figure was not located: {off}")


def main(arguments: list[str]) -> None:
    if "--no-compiler" in arguments:
        found = [path for name in COMPILERS if (path := shutil.which(name))]
        if found:
            raise SystemExit(f"PATH must hold no compiler, got {found}")
    # The sources must not be found in place of the wheel.
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() not in (ROOT, ROOT / ".ci")]
    check_files()
    check_pose()


if __name__ == "__main__":
    main(sys.argv[1:])
