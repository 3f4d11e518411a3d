"""A network, or predictions from anywhere, against annotated pictures."""

from cpm_fast.evaluation.layouts import PredictedParts
from cpm_fast.evaluation.network import LSP_PYRAMID, Predictions, evaluate, predict, score
from cpm_fast.evaluation.outcome import Evaluation
from cpm_fast.evaluation.predictions import evaluate_parts, evaluate_predictions, read_predictions, read_truth
from cpm_fast.evaluation.rule import Rule

__all__ = [
    "LSP_PYRAMID",
    "Evaluation",
    "PredictedParts",
    "Predictions",
    "Rule",
    "evaluate",
    "evaluate_parts",
    "evaluate_predictions",
    "predict",
    "read_predictions",
    "read_truth",
    "score",
]
