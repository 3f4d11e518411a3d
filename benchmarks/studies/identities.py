"""The identities of subjects in videos: python benchmarks/studies/identities.py --finder my-finder.

The videos are drawn, with two figures that cross again and again. In every frame each figure is matched with the
subject whose key points are nearest. An identity is exchanged if a figure, once it is apart from the other again, is a
subject that was another figure before. It writes identities.json after each video: exchanges, figures that were not
found, subjects without a figure, and the count of numbers given.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cpm_fast
from benchmarks.harness.record import command_of, header, write
from cpm_fast.data.drawn.crossing import RATE, crossing_figures
from cpm_fast.inference.tracking.assignment import best_pairs
from cpm_fast.inference.tracking.following import FIND_EVERY

# A figure matches a subject whose parts lie this near on average, as a share of the figure's height. Two figures are
# apart if their middles are this far from each other.
NEAR, APART = 0.2, 0.5
TRUTH = "truth"


@dataclass
class Kept:
    """The identities of one video.

    Args:
        exchanged: times that a figure became a subject that a figure was before.
        renewed: times that a figure became a new subject.
        unseen: figures in a frame that no subject is.
        nobody: subjects in a frame that are no figure.
        figures: in all frames.
        ids: numbers that were given.
    """

    exchanged: int = 0
    renewed: int = 0
    unseen: int = 0
    nobody: int = 0
    figures: int = 0
    ids: int = 0


def identities(results: Iterator[cpm_fast.Result], truth: Sequence[np.ndarray]) -> Kept:
    """Compare the results of a video's frames with the figures' parts [K, P, 2] in each.

    Raises:
        ValueError: there are not as many results as frames.
    """
    kept = Kept()
    last: dict[int, int] = {}
    owners: set[int] = set()
    seen: set[int] = set()
    for result, figures in zip(results, truth, strict=True):
        height = np.ptp(figures[..., 1], axis=1)
        apart = np.linalg.norm(figures[:, None] - result.keypoints[None], axis=-1).mean(axis=-1)  # [K, N]
        near = 1 - np.nan_to_num(apart / (NEAR * height[:, None]), nan=np.inf, posinf=1e9)
        pairs = best_pairs(np.maximum(near, -1), 0.0)
        kept.figures += len(figures)
        kept.unseen += len(figures) - len(pairs)
        kept.nobody += len(result) - len(pairs)
        middles = figures.mean(axis=1)
        for figure, place in pairs:
            gaps = np.delete(np.linalg.norm(middles - middles[figure], axis=1), figure)
            if (gaps < APART * height[figure]).any():
                continue
            number = result.ids[place]
            if last.get(figure, number) != number:
                if number in owners:
                    kept.exchanged += 1
                else:
                    kept.renewed += 1
            last[figure] = number
            owners.add(number)
        seen |= set(result.ids)
    kept.ids = len(seen)
    return kept


def about(figures: Sequence[np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a finder that is always right: it returns the boxes of each frame's figures, in the order of frames."""
    left = iter(figures[::FIND_EVERY])

    def boxes(image: np.ndarray) -> np.ndarray:
        parts = next(left)
        inside = (parts.mean(axis=1) > 0).all(axis=1) & (parts.mean(axis=1) < image.shape[1::-1]).all(axis=1)
        return np.concatenate([parts.min(axis=1), parts.max(axis=1)], axis=1)[inside]

    return boxes


def measure(
    videos: int, seconds: float, model: str | None, finder: str, smooth: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield a row per video."""
    for seed in range(videos):
        frames = list(crossing_figures(seconds, seed))
        truth = [parts for _, parts in frames]
        find = about(truth) if finder == TRUTH else finder
        begin = time.perf_counter()
        results = cpm_fast.stream(
            (image for image, _ in frames), model=model, find=find, rate=RATE, smooth=smooth, threads=None
        )
        kept = identities(results, truth)
        row = {"video": seed, **asdict(kept), "frames_per_second": len(frames) / (time.perf_counter() - begin)}
        print(", ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
        yield row


def record_of(rows: Sequence[dict[str, Any]], command: str, seconds: float, wanted: int) -> dict[str, Any]:
    """Return the record of the videos so far, of so many wanted ones of these seconds."""
    figures = sum(row["figures"] for row in rows)
    return {
        **header(command),
        "wanted": wanted,
        "videos": len(rows),
        "seconds": seconds,
        "exchanged": sum(row["exchanged"] for row in rows),
        "renewed": sum(row["renewed"] for row in rows),
        "unseen": sum(row["unseen"] for row in rows) / figures,
        "nobody": sum(row["nobody"] for row in rows) / figures,
        "rows": list(rows),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--finder", default=TRUTH, help="weights of a finder, or search, or truth: always right (%(default)s)"
    )
    parser.add_argument("--model", help="weights of the pose network (default: bundled)")
    parser.add_argument("--videos", type=int, default=20, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each video (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/identities"), help="folder to write (%(default)s)")
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(given)
    rows: list[dict[str, Any]] = []
    record: dict[str, Any] = {}
    for row in measure(options.videos, options.seconds, options.model, options.finder):
        rows.append(row)
        # A run that is stopped keeps its videos.
        record = record_of(rows, command_of(__file__, given), options.seconds, options.videos)
        write(options.out / "identities.json", record)
    print(
        f"{record['exchanged']} identities exchanged, {record['renewed']} renewed in {len(rows)} videos; "
        f"wrote {options.out / 'identities.json'}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
