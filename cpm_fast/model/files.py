"""A network on disk: weights as .safetensors, its config and skeleton in the metadata. Nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from cpm_fast.config import NetworkConfig
from cpm_fast.model.cpm import CPM
from cpm_fast.system.files import atomic_write, parse_json

# The version of what tensors and metadata mean; fields that a network config lacks take their defaults.
FAMILY = "cpm_fast/"
FORMAT = f"{FAMILY}1"


def write_tensors(path: str | Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and text under a temporary name, then rename: the file is whole or the old one."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as file:
        file.write(to_bytes(plain, {"format": FORMAT, **metadata}))


def read_tensors(path: str | Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a file of ours that holds the metadata entry `kind`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a .safetensors file, or not one of ours of this kind; the message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
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


def save_model(
    model: CPM, path: str | Path, dtype: torch.dtype | None = None, about: Mapping[str, str] | None = None
) -> None:
    """Write a network's weights, with config, skeleton and the version of this form in the metadata.

    Args:
        model: the network.
        path: must end in .safetensors.
        dtype: of the stored floating point numbers, for instance torch.float16; as they are if not given.
        about: where the weights come from, kept in the metadata.

    Raises:
        ValueError: the suffix is another.
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"path must end in .safetensors, got {str(path)!r}")
    tensors = {
        name: tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    metadata = {"network": json.dumps(model.config.to_dict())}
    if about:
        metadata["about"] = json.dumps(dict(about))
    write_tensors(path, tensors, metadata)


def load_model(path: str | Path) -> CPM:
    """Read a network that `save_model` wrote, in fp32, on the CPU, ready for inference.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or its tensors are another network's; the message names file and tensors.
    """
    tensors, metadata = read_tensors(path, "network")
    config = network_config(path, metadata)
    # A file may claim any network: what it holds is compared before memory is taken.
    if config.stages > len(tensors):
        raise ValueError(f"{path}: weights of another network: {config.stages} stages, {len(tensors)} tensors")
    try:
        with torch.device("meta"):
            claimed = CPM(config)
    except (RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: its network can't be built: {error}") from None
    check_fit(claimed, tensors, str(path))
    model = CPM(config)
    model.load_state_dict(tensors)
    return model.eval()


def network_config(path: str | Path, metadata: Mapping[str, str]) -> NetworkConfig:
    """The network that a file's metadata describes."""
    try:
        values = parse_json(metadata["network"])
        if not isinstance(values, dict):
            raise ValueError(f"must be a table of fields, got {values!r}")
        return NetworkConfig.from_dict(values)
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{path}: its network can't be understood: {error}") from None


def fill(model: CPM, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Put tensors into a network; every one must be there and fit.

    Raises:
        ValueError: names the source and the first tensors that are missing, unknown or of another shape.
    """
    check_fit(model, tensors, source)
    model.load_state_dict(dict(tensors))


def check_fit(model: CPM, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Refuse tensors that are not a network's, as `fill` does."""
    wanted = model.state_dict()
    problems = [f"{name} is missing" for name in wanted if name not in tensors]
    problems += [f"{name} is unknown" for name in tensors if name not in wanted]
    problems += [
        f"{name} must be {list(wanted[name].shape)}, got {list(tensor.shape)}"
        for name, tensor in tensors.items()
        if name in wanted and wanted[name].shape != tensor.shape
    ]
    if problems:
        raise ValueError(f"{source}: weights of another network: {len(problems)} tensors do not fit: {problems[:4]}")
