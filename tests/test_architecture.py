"""Imports run one way, folders are small, fast code has one entry, and the core uses neither PyTorch nor Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "cpm_fast"

# Lowest first: a module imports from its own level and from those before it. The package itself, cpm_fast/__init__.py,
# re-exports from all of them, so only the last level may import it.
LEVELS = (
    ("system", "sides", "skeleton", "roi", "config", "recipes", "metrics"),
    ("reference",),
    ("ops",),
    ("model",),
    ("engine", "weights"),
    ("media",),
    ("results",),
    ("inference",),
    ("data",),
    ("evaluation",),
    ("training", "labeling"),
    ("commands", "cli", "__main__"),
)
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
FAST = ("cpm_fast._C", "cpm_fast.kernels")


def python_files() -> dict[str, Path]:
    """Return the file of each module name, of cpm_fast and of kernels/ under its import name."""
    files = {}
    for folder, prefix in ((PACKAGE, "cpm_fast"), (ROOT / "kernels", "cpm_fast.kernels")):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            files[".".join((prefix, *(part for part in parts if part != "__init__")))] = path
    return files


FILES = python_files()


def imports(module: str, path: Path) -> Iterator[str]:
    """Return our modules that a file imports anywhere, also within functions."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
                base = f"{above}.{base}" if base else above
            # `from package import module` imports the module; `from module import name` imports the module of the name.
            names = [full if is_module(full := f"{base}.{alias.name}") else base for alias in node.names]
        else:
            continue
        yield from (name for name in names if name == "cpm_fast" or name.startswith("cpm_fast."))


def is_module(name: str) -> bool:
    return name in FILES or name.startswith(FAST)


def top(module: str) -> str:
    """Return the module's name in LEVELS: cpm_fast.data.formats.lsp -> data; the package itself is empty."""
    return [*module.split("."), ""][1]


# The package itself imports from every level; kernels have a rule of their own, in test_fast_code_has_one_door.
LEVELED = [module for module in FILES if module != "cpm_fast" and not module.startswith(FAST)]


@pytest.mark.parametrize("module", LEVELED)
def test_imports_run_one_way(module: str) -> None:
    assert top(module) in LEVEL, f"{module}: give it a place in LEVELS"
    for imported in imports(module, FILES[module]):
        if imported == "cpm_fast":
            assert LEVEL[top(module)] == len(LEVELS) - 1, f"{module} imports the package that re-exports it"
        elif not imported.startswith(FAST):
            assert top(imported) in LEVEL, f"{module} imports {imported}: give that a place in LEVELS"
            assert LEVEL[top(imported)] <= LEVEL[top(module)], f"{module} must not import {imported}"


def test_imports_have_no_cycle() -> None:
    graph = {
        module: set(imports(module, path)) - {module, "cpm_fast"}
        for module, path in FILES.items()
        if module != "cpm_fast"
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"files import each other in a circle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("module", FILES)
def test_fast_code_has_one_door(module: str) -> None:
    for imported in imports(module, FILES[module]):
        if imported.startswith(FAST):
            inside = module.startswith("cpm_fast.kernels") and imported.startswith("cpm_fast.kernels")
            assert inside or top(module) == "ops", f"{module} must not import {imported}; cpm_fast.ops is the door"
        else:
            assert not module.startswith("cpm_fast.kernels"), f"{module} must import nothing but other kernels"


def test_reference_imports_nothing_of_ours() -> None:
    for module in FILES:
        if top(module) == "reference":
            others = [name for name in imports(module, FILES[module]) if top(name) != "reference"]
            assert not others, f"{module} imports {others}"


def test_no_module_is_called_infer() -> None:
    assert not [module for module in FILES if module.rpartition(".")[2] == "infer"], "that name is the function"


NATIVE = sorted(path for path in (ROOT / "csrc").rglob("*") if path.suffix in (".h", ".cuh", ".cpp", ".cu"))


@pytest.mark.parametrize("path", NATIVE, ids=lambda path: str(path.relative_to(ROOT / "csrc")))
def test_native_core_knows_no_torch_and_no_python(path: Path) -> None:
    included = re.findall(r'^\s*#\s*include\s*[<"]([^">]+)[">]', path.read_text(encoding="utf-8"), re.MULTILINE)
    foreign = r"(torch|ATen|c10)/"
    if path.name != "bindings.cpp":
        foreign += r"|pybind11/|Python\.h"
    assert not [name for name in included if re.match(foreign, name)]


def test_every_folder_and_root_module_has_a_level() -> None:
    found = {
        path.stem if path.suffix else path.name
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    } - {"__init__"}
    assert found == set(LEVEL)


MOST_FILES = {PACKAGE: 12}
MOST_FILES_BELOW = 16


@pytest.mark.parametrize("folder", sorted({path.parent for path in PACKAGE.rglob("*.py")}), ids=lambda path: path.name)
def test_a_folder_is_seen_at_a_glance(folder: Path) -> None:
    files = sorted(path.name for path in folder.glob("*.py"))
    assert len(files) <= MOST_FILES.get(folder, MOST_FILES_BELOW), f"make a folder of some of {files}"


# Folders of tests without a folder of that name in the package.
OTHER_TESTS = {"docs", "support", "kernels", "benchmarks", "examples"}


def test_tests_mirror_the_package() -> None:
    tests = ROOT / "tests"
    for folder in sorted({path.parent.relative_to(tests) for path in tests.rglob("*.py")}):
        if folder.parts and folder.parts[0] not in OTHER_TESTS:
            assert (PACKAGE / folder).is_dir(), f"tests/{folder} must have the name of a folder of cpm_fast"


def test_one_op_one_name() -> None:
    for path in sorted((ROOT / "csrc" / "cpu").glob("*.cpp")):
        for twin in (
            ROOT / "csrc" / "include" / "cpm" / f"{path.stem}.h",
            ROOT / "csrc" / "tests" / f"test_{path.stem}.cpp",
            PACKAGE / "ops" / f"{path.stem}.py",
            PACKAGE / "reference" / f"{path.stem}.py",
            ROOT / "tests" / "ops" / f"test_{path.stem}.py",
        ):
            assert twin.exists(), f"{path.name} needs {twin.relative_to(ROOT)}"


# They hold the same ops under the same names.
OP_FOLDERS = ("cpm_fast.ops", "cpm_fast.reference", "cpm_fast.kernels")


def is_op(module: str) -> bool:
    return module.startswith(OP_FOLDERS)


def test_one_name_one_meaning() -> None:
    """Functions and classes of two modules have different names; private functions, which nobody imports, may not."""
    modules: dict[str, list[str]] = {}
    for module, path in FILES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            private = getattr(node, "name", "_").startswith("_")
            if isinstance(node, ast.ClassDef) or (isinstance(node, ast.FunctionDef) and not private):
                modules.setdefault(node.name.removeprefix("_"), []).append(module)
    # The entry of a verb, which cli.py calls.
    assert all(module.startswith("cpm_fast.commands.") for module in modules.pop("run"))
    assert len(modules) > 300
    several = {name: found for name, found in modules.items() if len(found) > 1}
    assert not {name: found for name, found in several.items() if not all(map(is_op, found))}


# A launch's arguments and a kernel's signature, by kind; the prototxt's layers; commands with their promises; motions.
OWN_FORMAT = {"kernels": 16, "tests/weights/importers": 1, "tests/support": 1, "cpm_fast/data/drawn": 1}


def test_tables_alone_are_formatted_by_hand() -> None:
    marked: dict[str, int] = {}
    for folder in ("cpm_fast", "kernels", "tests", "benchmarks", "docs", "examples"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if count := len(re.findall(r"# fmt: skip$", path.read_text(encoding="utf-8"), re.MULTILINE)):
                name = path.parent.relative_to(ROOT).as_posix()
                marked[name] = marked.get(name, 0) + count
    assert marked == OWN_FORMAT, "a smaller expression may do without"


def test_the_walk_sees_imports() -> None:
    """The tests above would pass on an empty list."""
    assert "cpm_fast.ops.backend" in FILES and "cpm_fast.kernels" in FILES and NATIVE
    assert "cpm_fast._C" in set(imports("cpm_fast.ops.backend", FILES["cpm_fast.ops.backend"]))
    found = set(imports("cpm_fast.commands.doctor", FILES["cpm_fast.commands.doctor"]))
    assert {"cpm_fast.ops.backend", "cpm_fast.ops.gaussian_targets"} <= found
