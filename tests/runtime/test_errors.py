from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtemper.runtime import errors
from hardtemper.runtime.errors import MOST_CHARACTERS, GateError, HardtemperError, InputError, MissingExtraError
from hardtemper.runtime.printable import printable


def test_what_expected_got_fix() -> None:
    error = InputError("threads", expected="1 or more", got="0", fix="leave it out")
    assert str(error) == "threads; expected: 1 or more; got: 0; fix: leave it out"
    assert (error.what, error.expected, error.got, error.fix) == ("threads", "1 or more", "0", "leave it out")
    assert str(InputError("threads")) == "threads"


def test_nothing_but_a_line_break_acts_on_a_terminal() -> None:
    assert str(InputError("a\x1b[2J", got="b\nc\u202e")) == "a\\x1b[2J; got: b\nc\\u202e"


def test_of_long_parts_the_middle_is_left_out() -> None:
    error = InputError("a" * 10 + "b" * 5000, expected="short", got="c" * 100 + "d" * 10**6, fix="keep this")
    line = str(error)
    assert len(line) <= MOST_CHARACTERS
    assert line.startswith("a" * 10 + "b" * 50)
    assert "b ... b" in line
    assert "; expected: short; got: " + "c" * 50 in line
    assert "d ... d" in line or "c ... d" in line
    assert line.endswith("d; fix: keep this")
    assert error.got == "c" * 100 + "d" * 10**6


@given(what=st.text(max_size=500), expected=st.text(max_size=500), got=st.text(max_size=500), fix=st.text(max_size=500))
def test_a_line_is_never_too_long(what: str, expected: str, got: str, fix: str) -> None:
    parts = {"expected: ": expected, "got: ": got, "fix: ": fix}
    whole = "; ".join([what] + [label + part for label, part in parts.items() if part])
    whole = "\n".join(map(printable, whole.split("\n")))
    line = str(InputError(what, expected=expected, got=got, fix=fix))
    assert len(line) <= MOST_CHARACTERS
    assert line == whole or len(whole) > MOST_CHARACTERS >= len(line) > MOST_CHARACTERS - 8


@pytest.mark.parametrize("name", sorted(set(errors.__all__) - {"MOST_CHARACTERS", "first_line"}))
def test_every_error_has_an_exit_code(name: str) -> None:
    cls = getattr(errors, name)
    assert issubclass(cls, HardtemperError)
    assert cls.exit_code == (2 if issubclass(cls, InputError) else 1)
    assert name in str(errors.__doc__)
    assert cls.__doc__


def test_gates_are_no_wrong_input() -> None:
    assert not issubclass(GateError, InputError)


def test_a_missing_extra_names_the_command() -> None:
    assert str(MissingExtraError("torch", extra="build", feature="a twin")) == (
        "a twin needs the package 'torch', which is not installed; fix: pip install 'hardtemper[build]'"
    )


@pytest.mark.parametrize(("says", "line"), [("\n one\ntwo", "one"), ("", "ValueError"), (" \n", "ValueError")])
def test_the_first_line_of_an_error(says: str, line: str) -> None:
    assert errors.first_line(ValueError(says)) == line
