from __future__ import annotations

import pytest

from hardtemper.runtime import errors
from hardtemper.runtime.errors import GateError, HardtemperError, InputError, MissingExtraError


def test_what_expected_got_fix() -> None:
    error = InputError("threads", expected="1 or more", got="0", fix="leave it out")
    assert str(error) == "threads; expected: 1 or more; got: 0; fix: leave it out"
    assert (error.what, error.expected, error.got, error.fix) == ("threads", "1 or more", "0", "leave it out")
    assert str(InputError("threads")) == "threads"


def test_nothing_but_a_line_break_acts_on_a_terminal() -> None:
    assert str(InputError("a\x1b[2J", got="b\nc\u202e")) == "a\\x1b[2J; got: b\nc\\u202e"


@pytest.mark.parametrize("name", errors.__all__)
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
