"""The followed subjects of a video, written frame by frame, so that a killed run resumes with the same identities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cpm_fast.inference.tracking.following import Following
from cpm_fast.system.files import VALUE_ERRORS, atomic_write, naming, parse_json
from cpm_fast.system.limits import file_exists, open_to_append
from cpm_fast.system.words import in_short

# Frames from one entry to the next; a resumed run repeats at most this many.
EVERY = 25
FILE = "subjects.jsonl"
NOBODY: dict[str, Any] = {"next_id": 0, "subjects": []}


class SubjectLog:
    """A file with the state of a tracker after every EVERY frames.

    Args:
        folder: of the file, there as long as the work is.
        tracker: whose state it is.
    """

    def __init__(self, folder: Path, tracker: Following) -> None:
        self.path, self.tracker = folder / FILE, tracker

    def resume(self) -> int:
        """Bring the tracker into the last state that is whole; return the number of its frame, -1 before the first.

        Raises:
            ValueError: the file is damaged; the message names it.
        """
        # A last line that a kill cut short is left out.
        lines = self.path.read_bytes().split(b"\n")[:-1] if file_exists(self.path) else []
        try:
            state = parse_json(lines[-1]) if lines else {"frame": -1, **NOBODY}
            self.tracker.restore(state)
            frame = int(state["frame"])
        except VALUE_ERRORS as error:
            raise ValueError(f"{self.path}: not the state of a video that can be resumed: {in_short(error)}") from None
        with atomic_write(self.path) as file:
            file.write(b"".join(line + b"\n" for line in lines))
        return frame

    def add(self, frame: int) -> None:
        """Write the state after a frame, if it is the turn of one."""
        if (frame + 1) % EVERY:
            return
        with naming(self.path), open_to_append(self.path) as file:
            file.write(json.dumps({"frame": frame, **self.tracker.state()}, allow_nan=False).encode() + b"\n")
