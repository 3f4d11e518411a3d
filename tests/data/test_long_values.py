"""Readers of files with very long names, numbers and texts: messages are short; too long a name counts as missing."""

import warnings

import pytest

from benchmarks.checks.hostile import ALLOWED, FORMS, LONGEST_MESSAGE, TEXTS, valid_input

PIECES = {"no UTF-8": b"\xe9", "letters": b"a", "digits": b"9", "quotes": b'"', "columns": b",a"}
PLACES = 25


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [*FORMS, *TEXTS])
@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)
def test_messages_are_short_and_name_the_file(tmp_path, kind, piece):
    name, valid, read = valid_input(kind, tmp_path)
    refused = 0
    for place in range(0, len(valid) + 1, max(1, len(valid) // PLACES)):
        try:
            read(valid[:place] + 50_000 * piece + valid[place:])
        except ALLOWED as error:
            refused += 1
            assert name in str(error) and len(str(error)) < LONGEST_MESSAGE, str(error)[:500]
    assert refused


@pytest.mark.parametrize("kind", ["coco", "table", "deeplabcut"])
def test_a_picture_whose_name_is_too_long_is_missing(tmp_path, kind):
    _, valid, read = valid_input(kind, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = read(valid.replace(b"a.png", b"a" * 5000 + b".png"))
    assert len(dataset)
    with pytest.raises((OSError, ValueError), match="a" * 50):
        dataset[0]
