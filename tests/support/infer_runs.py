"""Runs of `cpm-fast infer`: their arguments, their ends at any call, and a comparison of their results."""

import numpy as np

from cpm_fast.media.video_out import playable_suffix
from cpm_fast.results.result import Results
from cpm_fast.system.output_folder import MANIFEST

PICTURES = ("infer", "in", "--model", "net.safetensors", "--batch", "2", "--no-pictures")
WALK = ("infer", "walk.mp4", "--model", "net.safetensors")
LABELED = f"walk_pose{playable_suffix()}"


def shown(folder) -> set[str]:
    """Return the names of files without the hidden list of written files."""
    return {path.name for path in folder.iterdir() if path.name != MANIFEST}


def stop_after(monkeypatch, owner, name: str, count: int) -> None:
    """Send Ctrl-C at the call after this many."""
    real, calls = getattr(owner, name), []

    def stopping(*args, **kwargs):
        calls.append(None)
        if len(calls) > count:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, stopping)


def same(a: Results, b: Results) -> None:
    assert [result.name for result in a] == [result.name for result in b] and a.failures == b.failures
    for first, second in zip(a, b, strict=True):
        np.testing.assert_allclose(first.keypoints, second.keypoints, atol=1e-3)
        assert (first.rois, first.frame, first.seconds) == (second.rois, second.frame, second.seconds)
