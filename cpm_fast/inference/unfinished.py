"""The saved progress of a long inference, so that a killed one can be resumed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any

from cpm_fast.media.image import shown
from cpm_fast.model.cpm import CPM
from cpm_fast.system.files import VALUE_ERRORS, atomic_write, naming, parse_json
from cpm_fast.system.limits import LARGEST_BYTES, check_file, file_exists, open_to_append
from cpm_fast.system.words import in_short

FOLDER, SETTINGS = ".unfinished", "settings.json"
SAMPLE = 1 << 14


class Unfinished:
    """A folder `.unfinished` in the output folder that exists until the work is done: settings and journals.

    Args:
        output: where the results will be.
        settings: plain values that the results depend on; a run with others does not resume this one.
        part: name of a folder within, if the work is one of several.
    """

    def __init__(self, output: Path, settings: dict[str, Any], part: str = "") -> None:
        self.output, self.folder = output, output / FOLDER / part
        self.settings = json.loads(json.dumps(settings))
        self._journal = None

    def check(self, resume: bool) -> bool:
        """Return whether there is work to resume.

        Raises:
            ValueError: there is, but without `resume`, or with other settings.
        """
        path = self.folder / SETTINGS
        if not file_exists(path):
            return False
        if not resume:
            raise ValueError(
                f"{self.output}: holds an unfinished run; resume it with --resume, or remove {self.folder}"
            )
        try:
            before = parse_json(path.read_text(encoding="utf-8"))
            different = [name for name in {**before, **self.settings} if before.get(name) != self.settings.get(name)]
        except VALUE_ERRORS as error:
            raise ValueError(f"{path}: not the settings of a run: {error}; remove {self.folder}") from None
        if different:
            differences = "; ".join(
                f"{name:.60} {before.get(name)!s:.200}, not {self.settings.get(name)!s:.200}" for name in different
            )
            raise ValueError(f"{self.output}: the unfinished run has other settings: {differences}")
        return True

    def begin(self) -> None:
        """Make the folder; from now on the work counts as unfinished."""
        # A run that was killed while it removed its own folder left files that belong to nobody.
        self.end()
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.folder / SETTINGS) as file:
            file.write(json.dumps(self.settings, indent=1).encode())

    def records(self) -> Iterator[dict[str, Any]]:
        """Read the entries of all journals, in no order; a last line that a kill cut short is left out.

        Raises:
            ValueError: a journal is damaged; the message names it.
        """
        for path in sorted(self.folder.glob("*.jsonl")):
            check_file(path, LARGEST_BYTES)
            for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
                try:
                    record = parse_json(line)
                    _ = record["name"]
                except VALUE_ERRORS as error:
                    raise ValueError(f"{path} line {number}: not a line of a journal: {in_short(error)}") from None
                yield record

    def journal(self, rank: int) -> Journal:
        """Return a new journal of this process."""
        number = len(list(self.folder.glob(f"{rank}-*.jsonl")))
        return Journal(self.folder / f"{rank}-{number}.jsonl")

    def end(self) -> None:
        """Remove the folder: the results are written, and nothing is unfinished any more."""
        # A pipe of that name would be waited for.
        if self.folder.is_dir():
            shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent != self.output:
            # Raises OSError where there is another part.
            with suppress(OSError):
                self.folder.parent.rmdir()

    def note(self, what: str) -> None:
        """Record that a step is done."""
        (self.folder / what).touch()

    def noted(self, what: str) -> bool:
        """Return whether the resumed run had done a step."""
        return (self.folder / what).exists()


class Journal:
    """Lines that outlive their process: each is handed to the system before the work continues."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, open_to_append(path)

    def add(self, record: dict[str, Any]) -> None:
        with naming(self._path):
            self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def input_stamp(path: Path) -> list[Any]:
    """Return a file's identity: its path, size, time and a digest of samples; a replaced picture has another.

    Two pictures can have one size and time (uncompressed ones that a script made, copies that keep times). The samples
    are the first, middle and last `SAMPLE` bytes: a video is not read as a whole.
    """
    status, digest = path.stat(), hashlib.blake2b(digest_size=8)
    last = max(0, status.st_size - SAMPLE)
    # Pipes and unreadable files are refused when they are decoded.
    with suppress(OSError):
        if S_ISREG(status.st_mode):
            with open(path, "rb") as file:
                for start in sorted({0, last // 2, last}):
                    file.seek(start)
                    digest.update(file.read(SAMPLE))
    return [shown(path.absolute()), status.st_size, status.st_mtime_ns, digest.hexdigest()]


def fingerprint(model: CPM) -> str:
    """Return a digest of a network: the same for the same weights and the same config, parts and margin included."""
    digest = hashlib.sha256(json.dumps(model.config.to_dict(), sort_keys=True).encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
