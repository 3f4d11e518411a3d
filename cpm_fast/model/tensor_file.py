"""Named tensors in our .safetensors files, with their network in the metadata."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from cpm_fast.config import NetworkConfig
from cpm_fast.system.files import VALUE_ERRORS, atomic_write, parse_json, utf8_path
from cpm_fast.system.words import in_short

# The version of what tensors and metadata mean; fields that a network config lacks take their defaults.
FAMILY = "cpm_fast/"
FORMAT = f"{FAMILY}1"


def write_tensors(path: str | Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and text under a temporary name, then rename: the file is whole or the old one."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as file:
        file.write(to_bytes(plain, {"format": FORMAT, **metadata}))


def read_tensors(path: str | Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read tensors and metadata of one of our files that holds the metadata entry `kind`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a .safetensors file, or not one of ours of this kind; the message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with utf8_path(path) as readable, safe_open(readable, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a .safetensors file that can be read: {error}") from None
    written = metadata.get("format", "")
    if written.startswith(FAMILY) and written != FORMAT:
        raise ValueError(f"{path}: is of the form {written}, and this cpm_fast reads {FORMAT}; a newer one may read it")
    if written != FORMAT or kind not in metadata:
        raise ValueError(f"{path}: must hold the metadata format = {FORMAT} and {kind}, got {sorted(metadata)}")
    return tensors, metadata


def refuse_checkpoint(path: str | Path, metadata: Mapping[str, str]) -> None:
    """Raise ValueError if a file that must hold a network alone is the state of a training."""
    if "checkpoint" in metadata:
        run = shlex.quote(str(Path(path).parent))
        raise ValueError(
            f"{path}: is the checkpoint of a training, which `cpm-fast train --resume {run}` resumes; "
            "the networks beside it are best.safetensors and final.safetensors"
        )


def write_network(
    tensors: Mapping[str, torch.Tensor],
    config: NetworkConfig,
    path: str | Path,
    dtype: torch.dtype | None = None,
    about: Mapping[str, str] | None = None,
) -> None:
    """Write a network's state and config; arguments and errors as for `files.save_model`."""
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"path must end in .safetensors, got {str(path)!r}")
    stored = {
        name: tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }
    metadata = {"network": json.dumps(config.to_dict())}
    if about:
        metadata["about"] = json.dumps(dict(about))
    write_tensors(path, stored, metadata)


def network_config(path: str | Path, metadata: Mapping[str, str]) -> NetworkConfig:
    """Return the network that a file's metadata describes."""
    try:
        values = parse_json(metadata["network"])
        if not isinstance(values, dict):
            raise ValueError(f"must be a table of fields, got {values!r:.80}")
        return NetworkConfig.from_dict(values)
    except VALUE_ERRORS as error:
        raise ValueError(f"{path}: its network can't be understood: {in_short(error)}") from None
