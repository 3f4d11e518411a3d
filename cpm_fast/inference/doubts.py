"""Warnings about results that are probably wrong: one sentence for all of a kind, with the remedy."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from cpm_fast.results.entry import Entry

# Mean over the parts. wide-lsp has 0.35 to 0.79 (5 to 95 %) on LSP's last 100 pictures of whole athletes, 0.12 to 0.37
# on 80 everyday pictures seen whole, and at most 0.08 on noise (compact-lsp 0.13).
LOW_SCORE = 0.2
WHOLE = "whole image"
REMEDIES = {
    WHOLE: "the whole picture was taken as one subject: say where it is (boxes=, --box) or search (find='search', "
    "--find search)",
    "boxes": "check that each box holds one whole subject, of a kind that the network was trained on",
}


def doubts(results: Sequence[Entry], searched: bool) -> list[str]:
    """Return a message for all images in which nobody was found, and one for the images with a low mean score.

    Args:
        results: of the images.
        searched: whether there was a search for subjects.
    """
    empty = [result.name for result in results if searched and not len(result)]
    found = defaultdict(list)
    for result in results:
        low = mean_score(result)
        if low is not None and low < LOW_SCORE:
            found[result.roi_source].append((result.name, low))
    messages = (
        [
            _first_of(empty, "no subject found in") + "; a lower min_find_score (--min-find-score) finds more, boxes= "
            "(--box) says where they are"
        ]
        if empty
        else []
    )
    for source, low_ones in found.items():
        names = _first_of([name for name, _ in low_ones], "")
        mean = sum(low for _, low in low_ones) / len(low_ones)
        messages.append(
            f"{names.strip()}: probably wrong, the mean score of the parts is {mean:.2f} (sure is about 1); "
            + REMEDIES.get(source, REMEDIES["boxes"])
        )
    return messages


def mean_score(result: Entry) -> float | None:
    """Return the mean score over the parts of the surest subject; None if there is no subject."""
    # Plain numbers: a few scores take NumPy longer.
    subjects = [[score for score in scores if not math.isnan(score)] for scores in result.scores.tolist()]
    means = [sum(scores) / len(scores) for scores in subjects if any(map(math.isfinite, scores))]
    return max(means, default=None)


def _first_of(names: Sequence[str], before: str) -> str:
    others = f" and {len(names) - 1} others" if len(names) > 1 else ""
    return f"{before} {names[0]}{others}"
