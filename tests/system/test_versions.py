"""The versions of packages, including those with several names."""

from importlib.metadata import PackageNotFoundError

import pytest

from cpm_fast.commands import doctor
from cpm_fast.system import versions


@pytest.mark.parametrize("name", ["opencv-python", "opencv-python-headless", "opencv-contrib-python"])
def test_opencv_has_several_names(name, monkeypatch):
    def version(package):
        if package != name:
            raise PackageNotFoundError(package)
        return "5.0"

    monkeypatch.setattr(versions, "version", version)
    assert versions.versions()["opencv-python"] == "5.0" and versions.versions()["numpy"] == "not installed"
    assert doctor._package("opencv", "opencv-python").state == "ok"
    assert doctor._package("numpy", "numpy").state == "problem"
