"""Scores of a finder: its regions beside the true ones, and the threshold that balances missed and false ones."""

import numpy as np
import pytest

from cpm_fast.data.scenes.scene import Scene
from cpm_fast.evaluation.finding.finder import matched, score_of
from cpm_fast.inference.finders.finder import Candidate
from cpm_fast.roi import Roi

PICTURE = np.zeros((256, 320, 3), np.uint8)


def test_scores_of_what_was_found() -> None:
    true = (Roi((50, 50), 40), Roi((150, 50), 40))
    scene = Scene(PICTURE, true, (Roi((250, 50), 30),))
    found = [
        Candidate(Roi((52, 50), 42), 0.9),
        Candidate(Roi((51, 50), 40), 0.8),  # one subject twice
        Candidate(Roi((250, 52), 30), 0.7),  # in the crowd
        Candidate(Roi((150, 50), 40), 0.6),
        Candidate(Roi((150, 200), 40), 0.2),
    ]
    matches = matched(scene, found)
    assert [(one.right, one.counts) for one in matches] == [
        (True, True),
        (False, True),
        (False, False),
        (True, True),
        (False, True),
    ]
    score = score_of([(scene, found), (Scene(PICTURE), [])])
    assert (score.recall, score.false_per_picture, score.subjects, score.pictures) == (1.0, 0.5, 2, 2)
    assert 0.2 < score.threshold < 0.6
    with pytest.raises(ValueError, match="pictures must be at least one"):
        score_of([])
