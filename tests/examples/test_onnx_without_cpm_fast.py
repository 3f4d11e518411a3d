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
    box = [*known.min(axis=0), *known.max(axis=0)]
    cv2.imwrite(str(tmp_path / "a.png"), sample.image)
    export_model(load("compact-drawn", device="cpu"), tmp_path / "net.onnx", decode=True)
    arguments = [str(tmp_path / "net.onnx"), str(tmp_path / "a.png"), *map(repr, map(float, box))]
    code = f"import sys; sys.modules['cpm_fast'] = None; sys.argv[1:] = {arguments}; exec(open({str(SCRIPT)!r}).read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = list(csv.reader(io.StringIO(done.stdout)))
    (result,) = infer(str(tmp_path / "a.png"), model="compact-drawn", boxes=box, device="cpu")
    assert [row[0] for row in rows] == list(result.skeleton.names)
    found = np.array([[float(cell) for cell in row[1:]] for row in rows])
    assert np.abs(found[:, :2] - result.keypoints[0]).max() < 0.01
    assert np.abs(found[:, 2] - result.scores[0]).max() < 1e-3
