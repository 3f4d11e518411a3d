"""Plain values from a pickle, and errors for all else."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpm_fast.data.files.literals import literals

PLAIN = st.recursive(
    st.text() | st.integers(-(2**70), 2**70), lambda inner: st.lists(inner) | st.lists(inner).map(tuple), max_leaves=12
)


@given(PLAIN, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_what_was_pickled_comes_back(value, protocol):
    assert literals(pickle.dumps(value, protocol)) == value


def test_what_is_held_twice():
    part = ("a", 1)
    assert literals(pickle.dumps([part, part, [part]], 0)) == [part, part, [part]]


class Harmful:
    def __reduce__(self):
        return print, ("it was called",)


@pytest.mark.parametrize(
    "value", [Harmful(), {"a": 1}, 1.5, None, b"x", {1}, pytest.raises], ids=lambda v: type(v).__name__
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_what_is_not_plain_is_refused(value, protocol, capsys):
    with pytest.raises(ValueError, match=r"not plain values in a pickle"):
        literals(pickle.dumps([value], protocol))
    assert not capsys.readouterr().out


TORN = [b"", b".", b"]", b"]a.", b"0.", b"t.", b"g7\n.", b"I1\nI2\na.", b"X\xff\xff\xff\x7fab.", b"(lp0\nVx"]


@pytest.mark.parametrize("data", TORN, ids=repr)
def test_torn_ones_are_refused(data):
    with pytest.raises(ValueError, match=r"not plain values in a pickle"):
        literals(data)


@given(st.binary(max_size=60))
def test_any_bytes(data):
    try:
        literals(data)
    except ValueError:
        pass
