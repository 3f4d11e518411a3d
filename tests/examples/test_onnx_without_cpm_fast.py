"""Key points by ONNX Runtime, OpenCV and NumPy alone equal those of cpm_fast."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.inference import infer
from cpm_fast.weights import load
from cpm_fast.weights.exporters.exporting import export_model

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "onnx_without_cpm_fast.py"


def test_it_agrees_to_a_hundredth_of_a_pixel(tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason='ONNX needs pip install -e ".[export]"')
    sample = DrawnFigures(1)[0]
    known = sample.parts_image[sample.labeled]
    export_model(load("compact-drawn", device="cpu"), tmp_path / "net.onnx", decode=True)
    # A picture so large that its box shrinks to less than a quarter has fine texture that must not alias.
    for times in (1, 7):
        image = cv2.resize(sample.image, None, fx=times, fy=times, interpolation=cv2.INTER_NEAREST)
        box = [*((known.min(axis=0) + 0.5) * times - 0.5), *((known.max(axis=0) + 0.5) * times - 0.5)]
        cv2.imwrite(str(tmp_path / "a.png"), image)
        rows = by_the_script(tmp_path / "net.onnx", tmp_path / "a.png", box)
        (result,) = infer(str(tmp_path / "a.png"), model="compact-drawn", boxes=box, device="cpu")
        assert [row[0] for row in rows] == list(result.skeleton.names)
        found = np.array([[float(cell) for cell in row[1:]] for row in rows])
        assert np.abs(found[:, :2] - result.keypoints[0]).max() < 0.01 * times
        assert np.abs(found[:, 2] - result.scores[0]).max() < 1e-3


def by_the_script(network, picture, box):
    arguments = [str(network), str(picture), *map(repr, map(float, box))]
    code = f"import sys; sys.modules['cpm_fast'] = None; sys.argv[1:] = {arguments}; exec(open({str(SCRIPT)!r}).read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(csv.reader(io.StringIO(done.stdout)))
