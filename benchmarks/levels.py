"""How much of a suite runs: "quick" checks that it works, "default" is for a laptop, "full" leaves nothing out."""

from typing import Literal

Level = Literal["quick", "default", "full"]
