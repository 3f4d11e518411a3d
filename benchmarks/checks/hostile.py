"""Hundreds of thousands of hostile inputs to readers and ops: each gives a result or an error that names the file.

    python benchmarks/checks/hostile.py [--seconds 60] [--kinds json csv ops] [--out benchmarks/results/hostile.json]

Every kind runs in its own process, so that a crash, a hang or an error of another type is counted and the check
continues; its seconds are of processor time. Valid files are damaged: bytes are changed, cut or doubled, numbers made
huge. Each kind prints its line when it is done.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from scipy.io import savemat

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cpm_fast
from benchmarks.checks import guarded_ops
from benchmarks.harness import record
from cpm_fast.commands.train import _recipe
from cpm_fast.config import Conv, NetworkConfig
from cpm_fast.data.formats.boxes import BoxFile
from cpm_fast.data.formats.coco import CocoKeypoints
from cpm_fast.data.formats.deeplabcut import DeepLabCut
from cpm_fast.data.formats.mpii import MpiiJson, MpiiRelease
from cpm_fast.data.formats.table import PartsTable
from cpm_fast.labeling.frames import read_manifest
from cpm_fast.labeling.project import read_project
from cpm_fast.labeling.store import listed
from cpm_fast.labeling.table import LabelTable
from cpm_fast.media.image import decode_image
from cpm_fast.results.formats.files import load_entries
from cpm_fast.skeleton import Skeleton
from cpm_fast.system.versions import versions
from cpm_fast.weights.importers.caffe import read_caffemodel
from cpm_fast.weights.importers.state_dict import read_state_dict
from support import frames, matlab

ROWS = [("a.png",), ("b.png",)]
COLUMNS = [("me", part, axis) for part in ("nose", "tail") for axis in "xy"]
POINTS = np.arange(8.0).reshape(2, 4)
# Errors that readers of files may raise.
ALLOWED = (ValueError, OSError)
# An input that takes longer than this counts as a fault: in processor time, which is the same on a busy machine, and by
# the clock, for readers that wait.
SECONDS_PER_INPUT, SECONDS_WAITING = 60, 1800
# Kinds that mostly wait for another process end after so many times their seconds.
MOST_WALL = 3
MARKS = (b"\x00", b"\xff\xfe", b'"', b",,,", b"\r\n")
TOKENS = (b"1e400", b"-1", b"NaN", b"null", b"[]", b"{}", b"9" * 20, b"a" * 5000, *MARKS)
# Characters of a message: not a whole file.
LONGEST_MESSAGE = 2000
SMALL = NetworkConfig(stages=1, input_size=(16, 16), trunk=((Conv(1, 1),),) * 3, features=(), first=(), refine=())
FORMS = ("json", "csv", "npz")
IMAGES = {"png": "PNG", "jpg": "JPEG", "bmp": "BMP", "webp": "WEBP", "tif": "TIFF", "gif": "GIF"}
JOINTS = [[1.0 + part, 2.0 * part] for part in range(16)]
PEOPLE = [{"image": "a.png", "center": [9, 9], "scale": 1.5, "joints": JOINTS, "joints_vis": [1] * 16}] * 2
COCO = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "categories": [{"id": 1, "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}],
    "annotations": [{"id": 1, "image_id": 1, "keypoints": [1, 2, 2, 3, 4, 1], "bbox": [0, 0, 5, 5], "area": 9.5}],
}
DETECTIONS = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}]
FLY, LABELED = Skeleton("fly", ("a", "b")), "image,a_x,a_y,b_x,b_y\na.png,1,2,3,4\n"
FRAMES = "image,video,frame,seconds,by\na.png,v.mp4,3,0.1,uniform\n"
# Files of text: (name, text, reader).
TEXTS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "mpii": ("people.json", json.dumps(PEOPLE), MpiiJson),
    "coco": ("coco.json", json.dumps(COCO), CocoKeypoints),
    "table": ("table.csv", "image,left,top,right,bottom,b_x,b_y\na.png,1,2,3,4,5,6\n", PartsTable),
    "deeplabcut": ("labels.csv", "scorer,a,a,a,a\nbodyparts,b,b,c,c\ncoords,x,y,x,y\na.png,1,2,3,4\n", DeepLabCut),
    "boxes": ("boxes.csv", "image,left,top,right,bottom,score\na.png,1,2,3,4,0.5\n", BoxFile.read),
    "detections": ("boxes.json", json.dumps(DETECTIONS), BoxFile.read),
    "skeleton": ("fly.toml", 'names = ["a", "b"]\nlimbs = [["a", "b"]]\npairs = [["a", "b"]]\n', Skeleton.from_toml),
    "project": ("project.toml", 'name = "flies"\nvideos = ["videos/*"]\nframes = "frames"\n', read_project),
    "frames": ("frames.csv", FRAMES, lambda path: read_manifest(path.parent)),
    "labels": ("labels.csv", LABELED, lambda path: LabelTable(path, FLY)),
    "list": ("list.csv", "image,why\na.png,unsure\n", lambda path: listed(path, ["a.png"])),
    "recipe": ("recipe.json", '{"recipe": "long", "epochs": 3, "learning_rate": 0.1}', lambda path: _recipe(str(path))),
}
# Files of HDF5 and MATLAB: writer and reader.
BINARY: dict[str, tuple[str, Callable[[Path], object], Callable[[Path], object]]] = {
    "h5-fixed": ("labels.h5", lambda path: frames.write_fixed(path, ROWS, COLUMNS, POINTS), DeepLabCut),
    "h5-table": ("labels.h5", lambda path: frames.write_table(path, ROWS, COLUMNS, POINTS), DeepLabCut),
    "mat": ("release.mat", lambda path: savemat(path, {"RELEASE": _release()}), MpiiRelease),
}
KINDS = (*FORMS, *TEXTS, "safetensors", "checkpoint", "caffemodel", *IMAGES, *BINARY, "ops")
Reader = Callable[[bytes], object]


def _release() -> np.ndarray:
    """Return a release of MPII with one picture and one person."""
    points = matlab.structs({"x": 3.0, "y": 4.0, "id": 0.0, "is_visible": 1.0}, {"x": 5.0, "y": 6.0, "id": 9.0})
    person = {"objpos": matlab.structs({"x": 9.0, "y": 9.0}), "scale": 1.5, "x1": 1.0, "y1": 1.0, "x2": 5.0, "y2": 5.0}
    person["annopoints"] = matlab.structs({"point": points})
    picture = {"image": matlab.structs({"name": "a.png"}), "annorect": matlab.structs(person)}
    return matlab.structs({"annolist": matlab.structs(picture), "img_train": 1.0})


def valid_input(kind: str, folder: Path) -> tuple[str, bytes, Reader]:
    """Return the name and bytes of a valid file of a kind, and the function that reads such bytes."""
    image = np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8)
    if kind in IMAGES:
        stored = io.BytesIO()
        Image.fromarray(image).save(stored, IMAGES[kind])
        return "image", stored.getvalue(), lambda wrong: decode_image(wrong, "image")
    read: Callable[[Path], object]
    if kind in FORMS:
        path, read = folder / f"results.{kind}", load_entries
        cpm_fast.infer([image, image], model="compact-drawn").save(path)
    elif kind in TEXTS:
        name, text, read = TEXTS[kind]
        path = folder / name
        path.write_text(text, encoding="utf-8")
    elif kind in BINARY:
        name, write, read = BINARY[kind]
        path = folder / name
        write(path)
    elif kind == "safetensors":
        path, read = folder / "model.safetensors", cpm_fast.load
        cpm_fast.CPM(SMALL).save(path)
    elif kind == "checkpoint":
        path, read = folder / "checkpoint.pth", read_state_dict
        torch.save(cpm_fast.CPM(SMALL).state_dict(), path)
    else:
        # A layer of the newer form of Caffe's messages: name, type, one blob with a shape and two numbers.
        blob = b"\x3a\x06\x08\x01\x10\x01\x18\x02" + b"\x2a\x08" + np.ones(2, np.float32).tobytes()
        layer = b"\x0a\x05conv1\x12\x0bConvolution" + b"\x3a" + bytes([len(blob)]) + blob
        path, read = folder / "net.caffemodel", read_caffemodel
        path.write_bytes(b"\xa2\x06" + bytes([len(layer)]) + layer)

    def from_disk(wrong: bytes) -> object:
        path.write_bytes(wrong)
        return read(path)

    return path.name, path.read_bytes(), from_disk


def damaged(data: bytes, choose: random.Random) -> bytes:
    """Return a damaged file: some bytes changed, a piece cut, doubled or replaced by a token."""
    wrong = bytearray(data)
    for _ in range(choose.randint(1, 3)):
        place, kind, length = choose.randint(0, len(wrong)), choose.randrange(6), choose.randint(1, 8)
        if kind == 0 and place < len(wrong):
            wrong[place] = choose.randrange(256)
        elif kind == 1 and place < len(wrong):
            wrong[place] ^= 1 << choose.randrange(8)
        elif kind == 2:
            del wrong[place : place + length]
        elif kind == 3:
            wrong[place:place] = wrong[place : place + length]
        elif kind == 4:
            wrong[place : place + choose.randrange(5)] = choose.choice(TOKENS)
        elif kind == 5 and choose.random() < 0.2:
            del wrong[place:]
    return bytes(wrong)


def read_hostile(kind: str, seed: int, seconds: float) -> dict[str, Any]:
    """Read damaged files of a kind for a while; return how many, how many were refused, and faults by error."""
    faults: dict[str, int] = {}
    choose, inputs, refused = random.Random(seed), 0, 0
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        name, data, read = valid_input(kind, Path(folder))
        begun, used = time.monotonic(), time.process_time()
        while time.process_time() - used < seconds and time.monotonic() - begun < MOST_WALL * seconds:
            wrong = damaged(data, choose)
            inputs += 1
            signal.setitimer(signal.ITIMER_PROF, SECONDS_PER_INPUT)
            signal.alarm(SECONDS_WAITING)
            try:
                read(wrong)
            except ALLOWED as error:
                refused += 1
                if name not in str(error):
                    faults.setdefault(f"no file name: {type(error).__name__}: {str(error)[:80]}", inputs)
                if len(str(error)) > LONGEST_MESSAGE:
                    faults.setdefault(f"a long message: {type(error).__name__}: {str(error)[:80]}", inputs)
            except BaseException as error:
                faults.setdefault(f"{type(error).__name__}: {str(error)[:80]}", inputs)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
    return {"inputs": inputs, "refused": refused, "faults": faults}


def run_ops(seed: int, seconds: float) -> dict[str, Any]:
    """Run ops over tensors of odd strides at the edge of memory."""
    try:
        return {"inputs": guarded_ops.run(seed, seconds), "refused": 0, "faults": {}}
    except AssertionError as error:
        return {"inputs": 0, "refused": 0, "faults": {str(error)[:100]: 0}}


class Hang(BaseException):
    """An input that takes too long; no reader catches it."""


def _hang(*_: object) -> None:
    raise Hang(f"took more than {SECONDS_PER_INPUT} s of processor time, or waited for {SECONDS_WAITING} s")


def child(kind: str, seed: int, seconds: float) -> None:
    """Run one kind in this process; the last line of its output is a report."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for kind_of_signal in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(kind_of_signal, _hang)
    found = run_ops(seed, seconds) if kind == "ops" else read_hostile(kind, seed, seconds)
    print(json.dumps(found))


def run_kind(kind: str, seed: int, seconds: float) -> dict[str, Any]:
    """Run one kind in its own process; a process that ends without a report is a fault."""
    command = [sys.executable, __file__, "--child", kind, "--seed", str(seed), "--seconds", str(seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_WALL * seconds + SECONDS_WAITING)
        found = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        found = {"inputs": 0, "refused": 0, "faults": {"the process does not end": 0}}
    except (IndexError, ValueError):
        fault = f"the process ended with {done.returncode}: {done.stderr[-200:]}"
        found = {"inputs": 0, "refused": 0, "faults": {fault: 0}}
    return {"kind": kind, **found}


def main() -> int:
    """Run the kinds in turn, print their lines and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60, help="of processor time for each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="at a time")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--out", type=Path, help="a file for the record")
    parser.add_argument("--child", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.seed, options.seconds)
        return 0
    kinds = []
    with ThreadPoolExecutor(options.processes) as pool:
        for found in pool.map(lambda kind: run_kind(kind, options.seed, options.seconds), options.kinds):
            kinds.append(found)
            told = f"{found['kind']:<12} {found['inputs']:>8} inputs {found['refused']:>8} refused"
            print(f"{told} {len(found['faults']):>3} faults", flush=True)
            for fault in found["faults"]:
                print(f"    {fault}", flush=True)
    total = sum(found["inputs"] for found in kinds)
    if options.out:
        about = {"commit": record.commit(), "hardware": record.hardware(), "versions": versions()}
        words = {"seconds": f"{options.seconds:g}", "seed": options.seed, "processes": options.processes}
        command = "python benchmarks/checks/hostile.py " + " ".join(f"--{name} {word}" for name, word in words.items())
        how = {"command": command, "seconds": options.seconds, "seed": options.seed, "inputs": total}
        record.write(options.out, {**how, "kinds": kinds, **about})
    print(f"{'together':<12} {total:>8} inputs")
    return 1 if any(found["faults"] for found in kinds) else 0


if __name__ == "__main__":
    sys.exit(main())
