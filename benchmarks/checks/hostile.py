"""Hostile inputs by the hundred thousand, over readers and ops: each gives a result or an error that names the file.

    python benchmarks/checks/hostile.py [--seconds 60] [--kinds json csv ops]

Every kind runs in a process of its own, so that a crash, a hang and an error of another type are counted and not the
end. Valid files are damaged: bytes changed, cut, doubled, numbers made huge. The last lines are a table of inputs by
kind and of faults found.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

import cpm_fast
from benchmarks.checks import guarded_ops
from cpm_fast.config import Conv, NetworkConfig
from cpm_fast.media.image import decode_image
from cpm_fast.results.formats.files import load_entries
from cpm_fast.weights.importers.caffe import read_caffemodel
from cpm_fast.weights.importers.state_dict import read_state_dict

# Errors that readers of files may raise.
ALLOWED = (ValueError, OSError)
# One input that takes longer than this is a fault.
SECONDS_AN_INPUT = 10
TOKENS = (b"1e400", b"-1", b"NaN", b"null", b"[]", b"{}", b"9" * 20, b"\x00", b"\xff\xfe", b'"', b",,,", b"\r\n")
SMALL = NetworkConfig(stages=1, input_size=(16, 16), trunk=((Conv(1, 1),),) * 3, features=(), first=(), refine=())
FORMS = ("json", "csv", "npz")
Reader = Callable[[Path], object]


def valid_files(folder: Path) -> dict[str, tuple[Path, Reader]]:
    """One valid file of every kind, and what reads it."""
    image = np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8)
    results = cpm_fast.infer([image, image], model="compact-drawn")
    found: dict[str, tuple[Path, Reader]] = {}
    for form in FORMS:
        results.save(folder / f"results.{form}")
        found[form] = folder / f"results.{form}", load_entries
    model = cpm_fast.CPM(SMALL)
    model.save(folder / "model.safetensors")
    found["safetensors"] = folder / "model.safetensors", cpm_fast.load
    torch.save(model.state_dict(), folder / "checkpoint.pth")
    found["checkpoint"] = folder / "checkpoint.pth", read_state_dict
    # A layer of the newer form of Caffe's messages: name, type, one blob with a shape and two numbers.
    blob = b"\x3a\x06\x08\x01\x10\x01\x18\x02" + b"\x2a\x08" + np.ones(2, np.float32).tobytes()
    layer = b"\x0a\x05conv1\x12\x0bConvolution" + b"\x3a" + bytes([len(blob)]) + blob
    (folder / "net.caffemodel").write_bytes(b"\xa2\x06" + bytes([len(layer)]) + layer)
    found["caffemodel"] = folder / "net.caffemodel", read_caffemodel
    for suffix in (".png", ".jpg", ".bmp", ".webp"):
        path = folder / f"image{suffix}"
        path.write_bytes(cv2.imencode(suffix, image)[1].tobytes())
        found[suffix[1:]] = path, lambda path: decode_image(path.read_bytes(), path.name)
    return found


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """Another file: some bytes changed, a piece cut, doubled or replaced by a token."""
    wrong = bytearray(data)
    for _ in range(int(random.integers(1, 4))):
        place, kind = int(random.integers(0, len(wrong) + 1)), int(random.integers(0, 6))
        length = int(random.integers(1, 9))
        if kind == 0 and place < len(wrong):
            wrong[place] = int(random.integers(0, 256))
        elif kind == 1 and place < len(wrong):
            wrong[place] ^= 1 << int(random.integers(0, 8))
        elif kind == 2:
            del wrong[place : place + length]
        elif kind == 3:
            wrong[place:place] = wrong[place : place + length]
        elif kind == 4:
            token = TOKENS[int(random.integers(len(TOKENS)))]
            wrong[place : place + int(random.integers(0, 5))] = token
        elif kind == 5 and random.random() < 0.2:
            del wrong[place:]
    return bytes(wrong)


def read_hostile(kind: str, seed: int, seconds: float) -> dict[str, object]:
    """Read damaged files of a kind for a while; how many, and faults by their error."""
    faults: dict[str, int] = {}
    random, inputs = np.random.default_rng(seed), 0
    with tempfile.TemporaryDirectory() as name:
        path, reader = valid_files(Path(name))[kind]
        data, begun = path.read_bytes(), time.monotonic()
        while time.monotonic() - begun < seconds:
            path.write_bytes(damaged(data, random))
            inputs += 1
            signal.alarm(SECONDS_AN_INPUT)
            try:
                reader(path)
            except ALLOWED as error:
                if path.name not in str(error):
                    faults.setdefault(f"no file name: {type(error).__name__}: {str(error)[:80]}", inputs)
            except BaseException as error:
                faults.setdefault(f"{type(error).__name__}: {str(error)[:80]}", inputs)
            signal.alarm(0)
    return {"inputs": inputs, "faults": faults}


def run_ops(seed: int, seconds: float) -> dict[str, object]:
    """Ops over tensors of odd strides at the edge of memory."""
    try:
        return {"inputs": guarded_ops.run(seed, seconds), "faults": {}}
    except AssertionError as error:
        return {"inputs": 0, "faults": {str(error)[:100]: 0}}


KINDS = (*FORMS, "safetensors", "checkpoint", "caffemodel", "png", "jpg", "bmp", "webp", "ops")


def _hang(*_: object) -> None:
    raise TimeoutError(f"took more than {SECONDS_AN_INPUT} seconds")


def child(kind: str, seed: int, seconds: float) -> None:
    """One kind, in this process; the last line of its output is a report."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _hang)
    found = run_ops(seed, seconds) if kind == "ops" else read_hostile(kind, seed, seconds)
    print(json.dumps(found))


def main() -> int:
    """Run the kinds in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60, help="for each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--child", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.seed, options.seconds)
        return 0
    table, faulty = [], False
    for kind in options.kinds:
        command = [sys.executable, "-m", "benchmarks.checks.hostile", "--child", kind]
        command += ["--seed", str(options.seed), "--seconds", str(options.seconds)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds + 600)
        try:
            report = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            report = {"inputs": 0, "faults": {f"the process ended with {done.returncode}: {done.stderr[-200:]}": 0}}
        table.append((kind, report["inputs"], report["faults"]))
        faulty = faulty or bool(report["faults"])
    for kind, inputs, faults in table:
        print(f"{kind:<12} {inputs:>8} inputs {len(faults):>3} faults")
        for fault in faults:
            print(f"    {fault}")
    print(f"{'together':<12} {sum(inputs for _, inputs, _ in table):>8} inputs")
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())
