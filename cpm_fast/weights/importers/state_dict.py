"""Foreign weights as named tensors, from .safetensors or PyTorch's files, whose content is never run."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from cpm_fast.system.files import utf8_path

# Keys under which checkpoints keep the weights beside optimizer and history: mmengine's and mmcv's, and common ones.
INSIDE = ("state_dict", "model_state_dict", "model")
# The end of PyTorch's own message, after advice to read the file unsafely, and its way of naming a class.
UNPICKLER = "WeightsUnpickler error: "
REFUSED = re.compile(r"Unsupported (?:global|class): (?:GLOBAL )?(\S+)")
# The prefix that PyTorch's DataParallel adds to every name.
PARALLEL = "module."


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """Return the weights in a file, on the CPU, by name.

    A PyTorch file is a pickle, which may run code when it is read; here it may name tensors and plain containers only
    (`torch.load(weights_only=True)`), and its archive must hold what it claims to.

    Args:
        path: a .safetensors file; any other suffix is read as a PyTorch file: a state_dict, or a checkpoint with one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or one that needs classes that are not allowed; the message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    found = _safetensors(path) if path.suffix == ".safetensors" else _pytorch(path)
    for name in INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
            break
    if not isinstance(found, Mapping):
        raise ValueError(f"{path}: must hold a state_dict, got {type(found).__name__}")
    tensors = {
        name.removeprefix(PARALLEL): tensor
        for name, tensor in found.items()
        if isinstance(name, str) and isinstance(tensor, torch.Tensor)
    }
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_complex():
            raise ValueError(f"{path}: {name} must be a plain tensor of real numbers, got {tensor.type()}")
    if not tensors:
        raise ValueError(f"{path}: must hold a state_dict, got no tensor by name")
    return tensors


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with utf8_path(path) as readable, safe_open(readable, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a .safetensors file that can be read: {error}") from None


def _pytorch(path: Path) -> Any:
    try:
        if zipfile.is_zipfile(path):
            _check_archive(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises errors of any kind
        reason = str(error).rpartition(UNPICKLER)[2] or type(error).__name__
        refused = REFUSED.match(reason)
        if refused:
            raise ValueError(_how_to_save_again(path, _classes(path) or [refused[1]])) from None
        raise ValueError(f"{path}: not a PyTorch file that can be read: {reason.splitlines()[0]}") from None


def _check_archive(path: Path) -> None:
    """Refuse a packed archive: PyTorch stores tensors unpacked, so that one that unpacks to more is an attack."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("its archive is compressed, which PyTorch's never are")
    if sum(entry.file_size for entry in entries) > os.path.getsize(path):
        raise ValueError("its archive claims more than the file holds")


def _classes(path: Path) -> list[str]:
    """Return the classes other than tensors and plain containers that an archive would need, without making any."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # as above; older files are not searched
        return []


def _how_to_save_again(path: Path, classes: list[str]) -> str:
    shown = ", ".join(classes[:4]) + (f" and {len(classes) - 4} more" if len(classes) > 4 else "")
    return (
        f"{path}: holds objects beside its weights ({shown}), and making them could run code. If you trust the file, "
        'save its weights alone, where the packages that wrote it are installed: python -c "import torch; '
        f"torch.save(torch.load('{path.name}', map_location='cpu', weights_only=False)['state_dict'], "
        f"'{path.stem}-weights.pth')\""
    )
