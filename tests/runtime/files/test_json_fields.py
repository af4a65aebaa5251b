from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from hardtemper.runtime.errors import BundleFormatError
from hardtemper.runtime.files.json_fields import boolean, integer, items, json_object, number, parse_object, text, under


class Level(IntEnum):
    LOW = 3


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "a boolean"),
        (1.0, "a number"),
        ("1", "text"),
        ([], "a list"),
        ({}, "an object"),
        (1j, "complex"),
    ],
)
def test_an_integer_is_an_integer(value: object, expected: str) -> None:
    with pytest.raises(BundleFormatError) as caught:
        integer(value, "seed")
    assert (caught.value.what, caught.value.expected, caught.value.got) == ("seed", "an integer", expected)


@pytest.mark.parametrize(
    ("value", "least"),
    [(-1, 0), (0, 1), (2**64, None), (-(2**64), None), pytest.param(1 << 20_000, 0, id="too long to print")],
)
def test_integers_out_of_range(value: int, least: int | None) -> None:
    with pytest.raises(BundleFormatError):
        integer(value, "seed", least=least)


def test_text_and_items() -> None:
    assert text("x", "name") == "x"
    assert items([1], "files") == items((1,), "files") == (1,)
    for call, value in [(text, ""), (text, 1), (text, b"x"), (items, "abc"), (items, {}), (items, None)]:
        with pytest.raises(BundleFormatError):
            call(value, "name")


@pytest.mark.parametrize("value", ["\ud800", "a\udfffb", "\x1b]0;owned\x07", "a\nb", "\x9b2J", "\u202eabc", "\u2028"])
def test_text_is_printable(value: str) -> None:
    with pytest.raises(BundleFormatError) as caught:
        text(value, "name")
    assert (caught.value.what, caught.value.expected) == ("name", "printable text")
    assert str(caught.value).isprintable()


def test_numbers_and_booleans() -> None:
    assert (number(2, "share"), number(0.5, "share"), boolean(False, "robust")) == (2.0, 0.5, False)
    assert type(number(2, "share")) is float
    for call, value in [(number, "abc"), (number, True), (number, None), (number, float("inf")), (number, 10**400),
                        (boolean, 1), (boolean, None), (boolean, "true")]:  # fmt: skip
        with pytest.raises(BundleFormatError, match=r"^share; expected: "):
            call(value, "share")


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": ["x", "\ud800"]}, "recipe.a[1]"),
        ({"a": {"b\udfff": 1}}, "recipe.a"),
        ({"a": [1, {"b": {1, 2}}]}, "recipe.a[1].b"),
        ({"a": {"b": float("-inf")}}, "recipe.a.b"),
        ({"a": {2: 3}}, "recipe.a"),
        ({"a": np.float32(1)}, "recipe.a"),
        ({"a": b"x"}, "recipe.a"),
        ({"a": 2**64}, "recipe.a"),
        ([], "recipe"),
        (None, "recipe"),
    ],
)
def test_json_object_names_what_json_cannot_hold(value: Any, where: str) -> None:
    with pytest.raises(BundleFormatError) as caught:
        json_object(value, "recipe")
    assert caught.value.what == where


def test_json_object_copies_to_plain_values() -> None:
    inner = [1]
    copy = json_object(MappingProxyType({"a": (inner, Level.LOW, np.float64(0.5), None, True)}), "recipe")
    inner.append(2)
    assert copy == {"a": [[1], 3, 0.5, None, True]}
    assert [type(item) for item in copy["a"]] == [list, int, float, type(None), bool]


def test_json_object_that_holds_itself() -> None:
    value: dict[str, Any] = {}
    value["self"] = value
    with pytest.raises(BundleFormatError, match="levels"):
        json_object(value, "recipe")


def test_parse_object_names_a_key_given_twice() -> None:
    with pytest.raises(BundleFormatError, match="b; expected: each key once"):
        parse_object('{"a": {"b": 1, "b": 1}}')


def test_under_keeps_the_rest_of_the_error() -> None:
    with pytest.raises(BundleFormatError) as caught, under("a: "), under("b."):
        raise BundleFormatError("c", expected="1", got="2", fix="3")
    error = caught.value
    assert (error.what, error.expected, error.got, error.fix) == ("a: b.c", "1", "2", "3")
