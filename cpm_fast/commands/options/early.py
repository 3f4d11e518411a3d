"""Missing paths are reported at once, before PyTorch is imported, which takes seconds."""

from __future__ import annotations

import argparse
from pathlib import Path

from cpm_fast.system.words import meant

WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
SYNTHETIC = "synthetic"


def check_paths(options: argparse.Namespace) -> None:
    """Refuse inputs of a verb that do not exist.

    Raises:
        FileNotFoundError: names the first.
    """
    for item in getattr(options, "pictures", None) or ():
        if isinstance(item, Path) and not item.exists():
            raise FileNotFoundError(f"{item}: no such image or folder")
    data = getattr(options, "data", None) or ()
    for spec in [data] if isinstance(data, str) else data:
        if str(spec).split(":")[0] != SYNTHETIC and not Path(spec).exists():
            raise FileNotFoundError(f"{spec}: no such file or folder (data may also be the word synthetic)")
    predictions = getattr(options, "predictions", None)
    if predictions is not None and not Path(predictions).exists():
        raise FileNotFoundError(f"{predictions}: no such file")
    for name in ("model", "init"):
        given = getattr(options, name, None)
        if isinstance(given, str):
            _check_weights(given)


def _check_weights(given: str) -> None:
    bundled = sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))
    if given not in bundled and not Path(given).exists():
        raise FileNotFoundError(
            f"{given}: neither a file nor one of the bundled weights {bundled}{meant(given, bundled)}"
        )
