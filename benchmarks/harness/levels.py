"""Levels of a suite: how much of it runs.

"quick" checks that it works; "tour" is the command without arguments, every suite in three minutes; "default" is a
suite that was asked for; "full" leaves nothing out.
"""

from typing import Literal

Level = Literal["quick", "tour", "default", "full"]
