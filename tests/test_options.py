"""Every option of every verb has its effect, and an unknown one is an error."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpm_fast import cli
from cpm_fast.cli import BAD_USE, FINE, main, make_parser

# A value for each option, and its parsed form. Options without a value are turned on.
VALUES: dict[str, tuple[list[str], object]] = {
    "--output": (["there"], Path("there")),
    "--figures": (["7"], 7),
    "--camera": (["3"], 3),
    "--model": (["net"], "net"),
    "--box": (["1", "2", "3", "4"], [[1.0, 2.0, 3.0, 4.0]]),
    "--form": (["coco"], "coco"),
    "--frames": (["9"], 9),
    "--readers": (["2"], 2),
    "--pyramid": (["0.8", "1"], [0.8, 1.0]),
    "--batch": (["5"], 5),
    "--device": (["cpu"], "cpu"),
    "--last": (["6"], 6),
    "--protocol": (["lsp"], "lsp"),
    "--videos": (["a.mp4", "b/*"], ["a.mp4", "b/*"]),
}
# Arguments that a verb requires.
NEEDED = {
    "infer": ["a.png"],
    "eval": ["--data", "synthetic:2"],
    "data check": ["synthetic:2"],
    "compare": ["a", "b"],
    "import": ["a.caffemodel", "--output", "a.safetensors"],
    "export": ["compact-lsp", "--output", "a.onnx"],
    "data convert": ["labels", "--output", "a"],
    "project new": ["a", "--skeleton", "lsp"],
    "project show": ["a"],
}


def verbs(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Return every verb, such as "data check" for a nested one, with its parser."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield " ".join(words), parser
    for action in inner:
        for name, child in action.choices.items():
            yield from verbs(child, (*words, name))


VERBS = dict(verbs(make_parser()))
OPTIONS = [
    (verb, action)
    for verb, parser in VERBS.items()
    for action in parser._actions
    if action.option_strings and action.dest != "help"
]
NAMED = pytest.mark.parametrize(
    ("verb", "action"), OPTIONS, ids=[f"{verb} {action.option_strings[-1]}" for verb, action in OPTIONS]
)


@NAMED
def test_each_option_is_taken(verb, action):
    option = action.option_strings[-1]
    if action.nargs == 0:
        given, wanted = [], True
    elif action.choices is not None:
        given, wanted = [list(action.choices)[-1]], list(action.choices)[-1]
        wanted = [wanted] if action.nargs == "+" else wanted
    elif option in VALUES:
        given, wanted = VALUES[option]
    else:
        # Verbs with own tests of their options: any value of the option's type.
        kind = action.type or str
        count = action.nargs if isinstance(action.nargs, int) else 1
        given = ["1"] * count
        wanted = kind("1") if action.nargs is None else [kind("1")] * count
        wanted = [wanted] if isinstance(action, argparse._AppendAction) else wanted
    needed = [word for word in NEEDED.get(verb, []) if option != "--data"]
    for name in action.option_strings:
        found = make_parser().parse_args([*verb.split(), *needed, name, *given])
        assert getattr(found, action.dest) == wanted


@NAMED
def test_each_option_is_explained_and_used(verb, action):
    assert action.help and len(action.help.split()) >= 3
    package = Path(cli.__file__).parent
    source = "\n".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    assert f"options.{action.dest}" in source or f'"{action.dest}"' in source, f"nothing reads options.{action.dest}"


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_no_option_is_an_error(verb, capsys):
    for stranger in ("--wobble", "--outp", "--hel"):
        with pytest.raises(SystemExit) as exit_:
            main([*verb.split(), *NEEDED.get(verb, []), stranger])
        assert exit_.value.code == BAD_USE and stranger in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*verb.split(), "--help"])
    shown = capsys.readouterr().out
    assert exit_.value.code == FINE and f"usage: cpm-fast {verb}" in shown
    for action in VERBS[verb]._actions:
        assert all(name in shown for name in action.option_strings)
