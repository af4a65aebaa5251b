"""TOML made to break its reader: each text is values, no TOML, or one error."""

from __future__ import annotations

from typing import Any

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.recipe.toml_text import LONGEST, TOMLDecodeError, check_value, parse_toml


def test_what_is_sound_is_read() -> None:
    text = "a = 1\nb = -9223372036854775808\nc = 9223372036854775807\n[d]\ne = [1.5, 'x']\n"
    assert parse_toml(text, "x") == tomli.loads(text)


@given(st.text(st.sampled_from("a=[]{}.,\"'#\n 019xe-+T:_"), max_size=60))
def test_any_text_is_what_python_says_or_one_error(text: str) -> None:
    try:
        expected = tomli.loads(text)
    except (tomli.TOMLDecodeError, RecursionError):
        with pytest.raises((TOMLDecodeError, RecipeError)):
            parse_toml(text, "x")
        return
    try:
        assert repr(parse_toml(text, "x")) == repr(expected)  # NaN equals nothing
    except RecipeError as error:
        assert error.what == "x"  # noqa: PT017 - deeper than allowed, which is right too


DEEP = "nested 20 deep at most"
LARGE = "whole numbers of 64 bits at most"
HOSTILE = {
    "arrays": ("a = " + "[" * 500 + "]" * 500, DEEP),
    "open arrays": ("a = " + "[" * 50_000, DEEP),
    "arrays that Python still takes": ("a = " + "[" * 30 + "]" * 30, DEEP),
    "inline tables": ("a = " + "{b = " * 2000 + "1" + "}" * 2000, DEEP),
    "dotted keys": (".".join("a" * 5000) + " = 1", DEEP),
    "table names": ("[" + ".".join("a" * 5000) + "]", DEEP),
    "decimal digits": ("a = " + "9" * 5000, LARGE),
    "a few digits too many": ("a = 18446744073709551616", LARGE),
    "negative": ("a = -18446744073709551616", LARGE),
    "hexadecimal digits": ("a = 0x" + "f" * 10_000, LARGE),
    "octal digits": ("a = 0o" + "7" * 10_000, LARGE),
    "binary digits": ("a = 0b" + "1" * 10_000, LARGE),
    "digits in an array": ("a = [{b = 0x" + "f" * 10_000 + "}]", LARGE),
    "long": ("#" * (LONGEST + 1), "1,048,576 characters at most"),
}


@pytest.mark.parametrize("case", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts(case: tuple[str, str]) -> None:
    text, expected = case
    with pytest.raises(RecipeError) as caught:
        parse_toml(text, "the recipe x")
    assert expected in caught.value.expected
    assert len(str(caught.value)) < 200


def circle() -> list[Any]:
    value: list[Any] = []
    value.append({"again": value})
    return value


@pytest.mark.parametrize("value", [circle(), 2**64, [2**64], {"a": ({"b": -(2**64)},)}], ids=str)
def test_values_that_did_not_come_from_toml(value: Any) -> None:
    with pytest.raises(RecipeError, match=r"^x; expected: "):
        check_value(value, "x")


@pytest.mark.parametrize("value", [True, 2**64 - 1, 1e300, "9" * 10_000, None, {"a": [[1]]}])
def test_values_that_are_let_through(value: Any) -> None:
    check_value(value, "x")
