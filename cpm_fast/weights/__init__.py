"""Weights that come with the package, and reading weights by path or name."""

from __future__ import annotations

from pathlib import Path

import torch

from cpm_fast.model.cpm import CPM
from cpm_fast.model.files import load_model

FOLDER = Path(__file__).parent
# The weights of the demo, and of `infer` if no model is given.
DEFAULT = "wide-lsp"
DRAWN = "compact-drawn"


def bundled() -> list[str]:
    """Names of the weights in the package; each has a card, <name>.md, beside it."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def load(path_or_name: str | Path, *, device: str = "auto") -> CPM:
    """Read a network, ready for inference. Only local files are read; nothing is fetched.

    Args:
        path_or_name: a .safetensors file that `CPM.save` wrote, or the name of bundled weights.
        device: "cpu", "cuda", or "auto": cuda where there is one.

    Raises:
        FileNotFoundError: neither a file nor a bundled name.
        ValueError: the file is not a network of ours; the message names it.
        RuntimeError: the device is not there.

    Examples:
        >>> model = load("compact-drawn", device="cpu")
        >>> len(model.skeleton)
        14
    """
    return load_model(weights_file(path_or_name)).to(find_device(device))


def weights_file(path_or_name: str | Path) -> Path:
    """Return the file of weights that a path or a bundled name means.

    Raises:
        FileNotFoundError: neither a file nor a bundled name.
    """
    name = str(path_or_name)
    path = FOLDER / f"{name}.safetensors" if name in bundled() else Path(path_or_name)
    if not path.is_file():
        raise FileNotFoundError(f"{name}: neither a file nor one of the bundled weights {bundled()}")
    return path


def find_device(device: str) -> torch.device:
    """Return the device that a word means.

    Raises:
        ValueError: the word is no device.
        RuntimeError: the device is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        found = None
    if found is None or found.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {device!r}")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"device must be there, got {device!r}: PyTorch sees no CUDA device")
    return found
