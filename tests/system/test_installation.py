"""The commands that errors advise, in a checkout and for an installed wheel."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cpm_fast.system import installation
from cpm_fast.system.installation import install_command, rebuild_command

ROOT = Path(__file__).resolve().parents[2]
SHOW = "from cpm_fast.system.installation import *; print(install_command('label')); print(rebuild_command())"


def test_a_checkout_is_installed_from_its_folder() -> None:
    assert shlex.split(install_command("label")) == ["pip", "install", "-e", f"{ROOT}[label]"]
    assert shlex.split(rebuild_command()) == ["pip", "install", "-e", str(ROOT)]


@pytest.mark.parametrize(
    ("direct", "address"),
    [
        (None, ""),
        ({"url": "file:///tmp/a%20folder/cpm_fast.whl", "archive_info": {}}, " @ file:///tmp/a%20folder/cpm_fast.whl"),
        ({"url": "file:///home/me/$(id)", "dir_info": {}}, " @ file:///home/me/$(id)"),
        (
            {"url": "https://example.org/it.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            " @ git+https://example.org/it.git@abc",
        ),
        ({"url": "https://example.org/it.git", "vcs_info": {}}, ""),
        ([], ""),
    ],
    ids=["index", "wheel", "folder", "git", "damaged", "no table"],
)
def test_an_installed_package_is_installed_from_its_origin(tmp_path: Path, direct: object, address: str) -> None:
    """The files of a wheel lie among other packages, with pip's note of their origin."""
    (tmp_path / "cpm_fast" / "system").mkdir(parents=True)
    for name in ("__init__.py", "system/__init__.py", "system/files.py", "system/installation.py"):
        shutil.copy(ROOT / "cpm_fast" / name, tmp_path / "cpm_fast" / name)
    about = tmp_path / "cpm_fast-0.2.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: cpm_fast\nVersion: 0.2.0\n")
    if direct is not None:
        (about / "direct_url.json").write_text(json.dumps(direct))
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {SHOW}"
    told = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True, cwd="/")
    install, rebuild = map(shlex.split, told.stdout.splitlines())
    assert install == ["pip", "install", f"cpm_fast[label]{address}"]
    again = ["--force-reinstall", "--no-deps", "--no-cache-dir", "--no-binary", "cpm_fast"]
    assert rebuild == ["pip", "install", *again, "cpm_fast" if address.endswith(".whl") else f"cpm_fast{address}"]


def test_a_package_that_pip_does_not_know(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installation, "ROOT", tmp_path)
    monkeypatch.setattr(installation, "PACKAGE", "cpm_fast_of_another_world")
    assert install_command("data") == "pip install 'cpm_fast_of_another_world[data]'"
