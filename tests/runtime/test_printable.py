from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtemper.runtime.errors import HardtemperError
from hardtemper.runtime.printable import printable


@given(st.text(st.characters(exclude_categories=())))  # lone surrogates too
def test_whatever_comes_is_printable_text(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode().decode() == shown
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\u202e\ud800", r"\u202e\ud800"),
        ("größe 'x'", "größe 'x'"),
    ],
)
def test_escapes_are_those_of_python(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_an_error_acts_on_no_terminal() -> None:
    """It may name a key of a manifest or a node of a graph."""
    error = HardtemperError("\x1b]0;owned\x07", expected="one\nline", got="\x9b2J", fix="\ud800")
    assert str(error) == "\\x1b]0;owned\\x07; expected: one\nline; got: \\x9b2J; fix: \\ud800"
    assert error.what == "\x1b]0;owned\x07"
