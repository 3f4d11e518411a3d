"""Readers of weights under a coverage-guided fuzzer (atheris: libFuzzer for Python).

    pip install atheris
    python tests/weights/importers/fuzz_readers.py caffe -max_total_time=300 -rss_limit_mb=2048 -timeout=2 [CORPUS]

A reader may only give weights or raise ValueError, within two seconds and the limit on memory. The starting
points are valid files of every form. Each of `READERS` can be the first argument.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris
import numpy as np
import torch
from safetensors.torch import save as to_safetensors

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from support import caffe_file

with atheris.instrument_imports(include=["cpm_fast.weights", "cpm_fast.model.files"]):
    from cpm_fast.config import Conv, NetworkConfig
    from cpm_fast.model.cpm import CPM
    from cpm_fast.model.files import load_model
    from cpm_fast.weights.importers.caffe import read_caffemodel
    from cpm_fast.weights.importers.caffe_layouts import map_caffe
    from cpm_fast.weights.importers.mmpose import map_mmpose
    from cpm_fast.weights.importers.state_dict import read_state_dict
    from cpm_fast.weights.importers.wire import WireReader

FEW = {"conv1_stage1": [np.zeros((2, 3, 1, 1), np.float32), np.ones(2, np.float32)], "conv7_stage1": [np.ones((1, 2))]}
FORMS = ({}, {"first_form": True, "legacy": True}, {"packed": False}, {"legacy": True, "packed": False})
SMALL = NetworkConfig(stages=1, input_size=(16, 16), trunk=((Conv(1, 1),),) * 3, features=(), first=(), refine=())


def wire(path: Path) -> None:
    def walk(reader: WireReader, data: memoryview, depth: int) -> None:
        for field in reader.fields(data):
            if isinstance(field.value, memoryview) and depth:
                try:
                    walk(reader, field.value, depth - 1)
                except ValueError:
                    pass

    walk(WireReader(), memoryview(path.read_bytes()), 3)


def caffe(path: Path) -> None:
    map_caffe(read_caffemodel(path))


def checkpoint(path: Path) -> None:
    map_mmpose(read_state_dict(path))


def state_dict_bytes(zipped: bool) -> bytes:
    buffer = io.BytesIO()
    weights = {"backbone.stem.9.conv.weight": torch.zeros(16, 2, 1, 1), "half": torch.ones(2, dtype=torch.float16)}
    torch.save({"state_dict": weights, "meta": {"epoch": 3}}, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def our_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        CPM(SMALL).save(Path(folder) / "net.safetensors")
        return (Path(folder) / "net.safetensors").read_bytes()


# The reader, the suffix of its files, and valid files to start from.
READERS: dict[str, tuple[Callable[[Path], object], str, Callable[[], list[bytes]]]] = {
    "wire": (wire, ".bin", lambda: [caffe_file.net(FEW, **form) for form in FORMS]),
    "caffe": (caffe, ".caffemodel", lambda: [caffe_file.net(FEW, **form) for form in FORMS]),
    "archive": (checkpoint, ".pth", lambda: [state_dict_bytes(True)]),
    "legacy": (checkpoint, ".pth", lambda: [state_dict_bytes(False)]),
    "safetensors": (
        checkpoint,
        ".safetensors",
        lambda: [to_safetensors({"backbone.stem.9.conv.weight": torch.ones(2)})],
    ),
    "ours": (load_model, ".safetensors", lambda: [our_file()]),
}


def main() -> None:
    name, options = sys.argv[1], sys.argv[2:]
    read, suffix, valid = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "valid"
        corpus.mkdir()
        for number, content in enumerate(valid()):
            (corpus / str(number)).write_bytes(content)
            (Path(folder) / f"first{suffix}").write_bytes(content)
            try:
                read(Path(folder) / f"first{suffix}")
            except ValueError as error:  # a readable file may still hold an unknown network
                print(f"{name} {number}: {error}")
        path = Path(folder) / f"input{suffix}"

        def once(data: bytes) -> None:
            path.write_bytes(data)
            try:
                read(path)
            except ValueError:
                pass

        atheris.Setup([sys.argv[0], *options, str(corpus)], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
