"""Bundled weights, and the reading of weights by path or name."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import torch

from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import load_model
from cpm_fast.system.fork_lock import fork_lock
from cpm_fast.system.words import meant

FOLDER = Path(__file__).parent
# Suffixes of weights of other programs.
FOREIGN = (".caffemodel", ".ckpt", ".h5", ".onnx", ".pb", ".pt", ".pt2", ".pth", ".tflite")
logger = logging.getLogger(__name__)
# Most networks that are kept; the first that was read is dropped first.
MOST_SHARED = 8
_shared: dict[tuple[str, str], tuple[tuple[int, ...], CPM]] = {}
_lock = fork_lock()
# The weights of the demo, and of `infer` if no model is given.
DEFAULT = "base-lsp"
DRAWN = "compact-drawn"


def bundled() -> list[str]:
    """List the names of the weights in the package; each has a card, <name>.md, beside it."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def load(path_or_name: str | Path, *, device: str = "auto") -> CPM:
    """Read a network, ready for inference. Only local files are read; nothing is fetched.

    Args:
        path_or_name: a .safetensors file that `CPM.save` wrote, or the name of bundled weights.
        device: "cpu", "cuda", or "auto": cuda if available.

    Raises:
        FileNotFoundError: neither a file nor a bundled name.
        ValueError: the file is not a network of ours; the message names it.
        RuntimeError: the device is not available.

    Examples:
        >>> model = load("compact-drawn", device="cpu")
        >>> len(model.skeleton)
        14
    """
    started = time.perf_counter()
    if Path(path_or_name).suffix.lower() in FOREIGN:
        raise ValueError(
            f"{path_or_name}: must be a .safetensors file; cpm-fast import makes one from Caffe's and mmpose's files"
        )
    path, where = weights_file(path_or_name), find_device(device)
    model = load_model(path).to(where)
    logger.info("read %s to %s in %.0f ms", path.stem, where, 1e3 * (time.perf_counter() - started))
    return model


def shared_network(path_or_name: str | Path, *, device: str = "auto") -> CPM:
    """Return a network that all callers with the same file share in this process; it must not be changed.

    It is read again when the file changes. `infer`, `find` and `stream` take named networks from here, so that a server
    that calls them for every picture reads the file once. Arguments and errors are those of `load`.
    """
    path, where = weights_file(path_or_name), find_device(device)
    status = path.stat()
    key = (str(path.absolute()), str(where))
    # A file that another took the place of may have its size and time, but not these.
    stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    with _lock:
        held = _shared.get(key)
        # A network that somebody changed is not shared any more.
        if held is None or held[0] != stamp or held[1].training:
            if len(_shared) >= MOST_SHARED:
                _shared.pop(next(iter(_shared)))
            # Later callers may need gradients, so these are no tensors of inference mode.
            with torch.inference_mode(False):
                held = _shared[key] = (stamp, load(path_or_name, device=device))
        logger.debug("use %s on %s", path.stem, where)
        return held[1]


def weights_file(path_or_name: str | Path) -> Path:
    """Return the file of weights of a path or a bundled name.

    Raises:
        FileNotFoundError: neither a file nor a bundled name.
    """
    name = str(path_or_name)
    path = FOLDER / f"{name}.safetensors"
    # A name of one part: others lead out of the folder.
    if os.path.basename(name) != name or not path.is_file():
        path = Path(path_or_name)
    if not path.is_file():
        known = bundled()
        found = sorted(each.name for each in path.glob("*.safetensors")) if path.is_dir() else []
        hint = f"; the folder holds {', '.join(found)}" if found else meant(name, known)
        raise FileNotFoundError(f"{name}: neither a file nor one of the bundled weights {known}{hint}")
    return path


def find_device(device: str) -> torch.device:
    """Return the device of a word.

    Raises:
        ValueError: the word is no device.
        RuntimeError: the device is not available.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        found = None
    if found is None or found.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"device must be auto, cpu or cuda, or mps on a Mac, got {device!r}")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"device {device!r} is not available: PyTorch finds no CUDA device")
    if found.type == "mps" and not torch.backends.mps.is_available():
        raise RuntimeError(f"device {device!r} is not available: PyTorch finds no Apple GPU")
    return found
