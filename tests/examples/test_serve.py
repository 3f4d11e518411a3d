"""The example of a server: responses over HTTP, and refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.inference import infer

pytest.importorskip("starlette", reason='the example needs pip install -e ".[serve]"')
pytest.importorskip("uvicorn", reason='the example needs pip install -e ".[serve]"')

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT / "examples"), "serve:app", "--port", str(port)]
    server = subprocess.Popen(
        command, env={**os.environ, "CPM_FAST_SERVE_MODEL": "compact-drawn"}, stderr=subprocess.PIPE, text=True
    )
    assert server.stderr is not None
    try:
        # uvicorn prints its address after the first half of the lifespan.
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "running on" not in (line := server.stderr.readline()):
            assert line and time.monotonic() < deadline, "the server ended"
        yield f"http://127.0.0.1:{port}/poses"
    finally:
        server.terminate()
        server.communicate()


def answer(address: str, body: bytes) -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data=body), timeout=PATIENCE_SECONDS) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def test_a_picture_is_answered_with_its_poses(address):
    sample = DrawnFigures(1)[0]
    known = sample.parts_image[sample.labeled]
    box = [float(number) for number in (*known.min(axis=0), *known.max(axis=0))]
    body = cv2.imencode(".png", sample.image)[1].tobytes()
    code, poses = answer(f"{address}?box={','.join(map(repr, box))}", body)
    assert code == 200
    (expected,) = infer(body, model="compact-drawn", boxes=box, device="cpu")
    (subject,) = poses["subjects"]
    assert list(subject["parts"]) == list(expected.skeleton.names)
    found = np.array([part[:2] for part in subject["parts"].values()], float)
    assert np.abs(found - expected.keypoints[0]).max() < 0.01


@pytest.mark.parametrize(
    ("query", "body", "code", "reason"),
    [
        ("", b"no picture", 400, "decode"),
        ("", b"", 400, ""),
        ("?box=1,2,x,4", b"no picture", 400, "could not convert"),
        ("", bytes(20_000_001), 413, "at most"),
    ],
    ids=["text", "empty", "box", "large"],
)
def test_what_is_refused_says_why(address, query, body, code, reason):
    refused, reply = answer(address + query, body)
    assert refused == code and reason in reply["error"]
