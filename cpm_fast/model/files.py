"""Networks on disk: weights as .safetensors, config and skeleton in the metadata. Nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from cpm_fast.model.cpm import CPM
from cpm_fast.model.tensor_file import network_config, read_tensors, refuse_checkpoint, write_network


def save_model(
    model: CPM, path: str | Path, dtype: torch.dtype | None = None, about: Mapping[str, str] | None = None
) -> None:
    """Write a network's weights, with config, skeleton and the version of this form in the metadata.

    Args:
        model: the network.
        path: must end in .safetensors.
        dtype: of the stored floating point numbers, for instance torch.float16; as they are if not given.
        about: the origin of the weights, kept in the metadata.

    Raises:
        ValueError: the suffix is another.
    """
    write_network(model.state_dict(), model.config, path, dtype, about)


def load_model(path: str | Path) -> CPM:
    """Read a network that `save_model` wrote, in fp32, on the CPU, ready for inference.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or its tensors are another network's; the message names file and tensors.
    """
    tensors, metadata = read_tensors(path, "network")
    refuse_checkpoint(path, metadata)
    config = network_config(path, metadata)
    # A file may claim any network: its tensors are compared before memory is taken.
    if config.stages > len(tensors):
        raise ValueError(f"{path}: weights of another network: {config.stages} stages, {len(tensors)} tensors")
    try:
        with torch.device("meta"):
            claimed = CPM(config)
    except (RuntimeError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: its network can't be built: {error}") from None
    check_fit(claimed, tensors, str(path))
    # The caller's default device and type do not apply.
    with torch.device("cpu"):
        model = CPM(config).float()
    model.load_state_dict(tensors)
    return model.eval()


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
