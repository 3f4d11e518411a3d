"""Short runs of small networks, for the tests of training."""

from dataclasses import replace

import torch

from cpm_fast.config import Conv, preset
from cpm_fast.data.drawn.synthetic import DrawnFigures
from cpm_fast.model.files import load_model
from cpm_fast.recipes import RECIPES
from cpm_fast.training.metrics_log import MetricsLog
from cpm_fast.training.options import RunOptions

FEW = {
    "input_size": (64, 64),
    "stages": 2,
    "trunk": ((Conv(3, 4),),) * 3,
    "features": (Conv(1, 4),),
    "first": (Conv(3, 8),),
    "refine": (Conv(3, 4),),
}
COMPACT = replace(preset("compact"), **FEW, tail=())
RELEASED = replace(preset("cpm6"), **FEW)  # two trunks, dropout 0.5, no normalization
DATA = [DrawnFigures(12), DrawnFigures(5, seed=1)]
# 17 samples in batches of 4 are 4 steps an epoch; 11 steps, a line of metrics every 3.
STEPS, LOG_EVERY = 11, 3
SHORT = {"batch": 4, "epochs": 2.75}
CONFIGS = {
    "modern": (COMPACT, replace(RECIPES["modern"], **SHORT)),
    "modern with dropout": (replace(COMPACT, dropout=0.3), replace(RECIPES["modern"], **SHORT)),
    "paper": (RELEASED, replace(RECIPES["paper"], **SHORT, step_epochs=1.5)),
}
# Validations are rare, because each draws curves.
QUIET = RunOptions(workers=0, device="cpu", quiet=True, save_every=100, validate_every=100)


def weights(run) -> dict[str, torch.Tensor]:
    return load_model(run / "final.safetensors").state_dict()


def losses(run) -> list[tuple[int, list[float]]]:
    return [(row["step"], row["losses"]) for row in MetricsLog(run / "metrics.jsonl").rows() if "losses" in row]


def history(run) -> list[tuple[int, object]]:
    """Return losses and scores by their steps, in the order of the file."""
    rows = MetricsLog(run / "metrics.jsonl").rows()
    return [(row["step"], row.get("losses", row.get("pck"))) for row in rows]
