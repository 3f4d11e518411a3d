"""cpm_fast: Convolutional Pose Machines (Wei et al., CVPR 2016), trained and run fast.

Public names are imported when they are first used: `import cpm_fast` and the command line do without PyTorch, whose
import takes seconds, until something needs it.
"""

import os
import warnings
from importlib import import_module, util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "CPM": "model.cpm",
    "Engine": "engine",
    "NetworkConfig": "config",
    "OneEuro": "inference.smoothing",
    "Result": "results.result",
    "Results": "results.result",
    "Roi": "roi",
    "Skeleton": "skeleton",
    "TrainingConfig": "recipes",
    "evaluate": "evaluation",
    "find": "inference",
    "infer": "inference",
    "load": "weights",
    "stream": "inference.streaming",
}


def __getattr__(name: str) -> Any:
    """Import a public name, or a module of the package, at its first use."""
    if name in _MODULES:
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value
    if not name.startswith("__") and util.find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if util.find_spec(f"{__name__}._C") is None and os.environ.get("CPM_FAST_BACKEND") != "reference":
    warnings.warn(
        "cpm_fast was installed without its compiled module cpm_fast._C, so everything runs on the reference backend, "
        "many times slower; `cpm-fast doctor` gives the reason and the remedy",
        RuntimeWarning,
        stacklevel=2,
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
