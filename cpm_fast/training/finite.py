"""Whether losses and weights are numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cpm_fast.model.cpm import CPM


def what_is_not_finite(losses: Sequence[torch.Tensor], step: int, model: CPM) -> str | None:
    """The first thing that is not finite, in words; None where everything is.

    Args:
        losses: of every stage [T], of the last steps up to and with `step`.
        step: counted from 1.
        model: its weights and statistics are looked at where the losses are fine.
    """
    for at, of_stages in enumerate(losses, step - len(losses) + 1):
        if not bool(of_stages.isfinite().all()):
            return f"the losses of the stages are {of_stages.tolist()} at step {at}"
    if all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
        return None
    return f"weights are not finite after step {step}"
