"""cpm_fast: Convolutional Pose Machines (Wei et al., CVPR 2016), trained and run fast."""

from cpm_fast import metrics
from cpm_fast.config import NetworkConfig
from cpm_fast.engine import Engine
from cpm_fast.evaluation import evaluate
from cpm_fast.inference import find, infer
from cpm_fast.inference.smoothing import OneEuro
from cpm_fast.inference.streaming import stream
from cpm_fast.model.cpm import CPM
from cpm_fast.recipes import TrainingConfig
from cpm_fast.results.result import Result, Results
from cpm_fast.roi import Roi
from cpm_fast.skeleton import Skeleton
from cpm_fast.weights import load

# The only place of the version: pyproject.toml reads it here.
__version__ = "0.2.0"

__all__ = [
    "CPM",
    "Engine",
    "NetworkConfig",
    "OneEuro",
    "Result",
    "Results",
    "Roi",
    "Skeleton",
    "TrainingConfig",
    "__version__",
    "evaluate",
    "find",
    "infer",
    "load",
    "metrics",
    "stream",
]
