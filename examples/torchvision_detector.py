"""Boxes of people by torchvision's detector, key points by cpm_fast.

    python examples/torchvision_detector.py group.jpg -o out/people.png

It also needs torchvision, which downloads the detector's weights (about 75 MB) in the first run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import cpm_fast

# The label of a person in torchvision's detectors, which use COCO's labels.
PERSON = 1


def as_find(detector: Callable[[list[torch.Tensor]], list[dict[str, Any]]]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a torchvision detector as a function for `infer(..., find=...)`.

    Args:
        detector: takes a list of RGB tensors [3, H, W] in [0, 1], and returns of each boxes [N, 4], labels [N] and
            scores [N].
    """

    def people(image: np.ndarray) -> np.ndarray:
        """Return [N, 5] left, top, right, bottom and score of every person in an image [H, W, 3] uint8 BGR."""
        rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            found = detector([rgb])[0]
        person = found["labels"] == PERSON
        return torch.cat([found["boxes"][person], found["scores"][person, None]], dim=1).cpu().numpy()

    return people


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("people.png"), help="picture to write (%(default)s)")
    options = parser.parse_args(arguments)

    from torchvision.models import detection

    weights = detection.FasterRCNN_MobileNet_V3_Large_FPN_Weights.DEFAULT
    detector = detection.fasterrcnn_mobilenet_v3_large_fpn(weights=weights).eval()
    result = cpm_fast.infer(options.picture, find=as_find(detector), min_find_score=0.7)[0]
    result.plot(options.output)
    print(f"{len(result)} people; wrote {options.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
