"""The parser of the command line, which suggests the word that was probably meant."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from cpm_fast.system.words import meant

CHOICE = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)$", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that takes whole options only, and names the one that an unknown word resembles."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            parser = self._of(options)
            words = [word for word in unknown if word.startswith("-")] or unknown
            known = [name for action in parser._actions for name in action.option_strings]
            parser.error(f"unrecognized arguments: {' '.join(unknown)}{meant(words[0].partition('=')[0], known)}")
        return options

    def error(self, message: str) -> NoReturn:
        found = CHOICE.search(message)
        if found is not None:
            message += meant(found[1], re.findall(r"'([^']*)'", found[2]))
        super().error(message)

    def _of(self, options: argparse.Namespace) -> argparse.ArgumentParser:
        """Return the parser of the verb that was named."""
        parser: argparse.ArgumentParser = self
        for name in ("verb", "action"):
            for action in parser._actions:
                if isinstance(action, argparse._SubParsersAction) and getattr(options, name, None) in action.choices:
                    parser = action.choices[getattr(options, name)]
                    break
        return parser
