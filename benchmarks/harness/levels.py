"""Levels of a suite: the extent of a run.

"quick" checks that it works; "tour" is the command without arguments, every suite in three minutes; "default" is for a
requested suite; "full" runs all cases.
"""

from typing import Literal

Level = Literal["quick", "tour", "default", "full"]
