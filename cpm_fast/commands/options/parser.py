"""The parser of the command line, which suggests the word that was probably meant."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import takewhile
from typing import Any, NoReturn

from cpm_fast.system.words import meant

CHOICE = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)$", re.DOTALL)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that takes whole options only, and names the one that an unknown word resembles."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})
        self._words: list[str] = []

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None, repeats: bool = False
    ) -> Any:
        """Parse; of several values of an option the last counts, with a warning unless `repeats` is set."""
        self._words = list(sys.argv[1:] if args is None else args)
        options, unknown = self.parse_known_args(self._words, namespace)
        parser = self._of(options)
        if unknown:
            words = [word for word in unknown if word.startswith("-")] or unknown
            parser.error(
                f"unrecognized arguments: {' '.join(unknown)}{_meant_option(words[0].partition('=')[0], parser)}"
            )
        if not repeats:
            _warn_of_repeats(parser, self._words)
        return options

    def error(self, message: str) -> NoReturn:
        found = CHOICE.search(message)
        if found is not None:
            message += meant(found[1], re.findall(r"'([^']*)'", found[2]))
        elif self._words and self._words[0].startswith("-") and "required" in message:
            # An option in the place of a verb.
            message = f"unrecognized arguments: {self._words[0]}{_meant_option(self._words[0], self)}"
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


def _meant_option(word: str, parser: argparse.ArgumentParser) -> str:
    """Return the end of a message about an option that is unknown."""
    bare = word.lstrip("-")
    if any(not action.option_strings and action.dest == bare for action in parser._actions):
        return f"; the {bare} stands without {word}"
    names = {name.lstrip("-"): name for action in parser._actions for name in action.option_strings}
    close = get_close_matches(bare, names, n=1)
    return f"; did you mean {names[close[0]]!r}?" if close else ""


def _warn_of_repeats(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Print a warning about each option of one value that is given several: all but the last are dropped."""
    given = [word.partition("=")[0] for word in takewhile(lambda word: word != "--", words)]
    for action in parser._actions:
        count = sum(given.count(name) for name in action.option_strings)
        if count > 1 and isinstance(action, argparse._StoreAction):
            name = action.option_strings[-1]
            print(f"warning: {name} takes one value, got {count}; only the last is used", file=sys.stderr)
