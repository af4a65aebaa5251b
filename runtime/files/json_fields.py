"""Checks untrusted JSON field by field; every error carries the path of the field.

Rule: a value is taken only if it has exactly the expected type (a bool is no int, NaN is no number, half of a
surrogate pair is no text), an object only if its keys are exactly those of its dataclass. Checks name the field from
where they stand ("sha256"); `under` adds what lies above it ("files[2].") on the way out, as pypa/packaging's pylock.py
does with its `context`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, NoReturn

from ..errors import BundleFormatError

__all__ = [
    "MOST_CHARACTERS",
    "MOST_LEVELS",
    "boolean",
    "exact_keys",
    "integer",
    "items",
    "json_object",
    "kind",
    "number",
    "parse_object",
    "text",
    "under",
]

MOST_LEVELS = 64
"""Objects and lists inside each other."""

MOST_CHARACTERS = 4096
"""Of one text that is shown to people."""

_MOST_DIGITS = 20
_KINDS: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    type(None): "null",
}


def kind(value: object) -> str:
    """What `value` is, in JSON's words."""
    return _KINDS.get(type(value), type(value).__name__)


@contextmanager
def under(prefix: str) -> Iterator[None]:
    """Put `prefix` before the field path of a format error raised inside."""
    try:
        yield
    except BundleFormatError as error:
        raise BundleFormatError(prefix + error.what, expected=error.expected, got=error.got, fix=error.fix) from None


def parse_object(source: str) -> dict[str, Any]:
    """Parse a JSON object, strictly: no NaN, no key given twice.

    Raises:
        BundleFormatError: `source` is no JSON, or no object.
    """
    try:
        value = json.loads(source, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_int=_parse_integer)
    except RecursionError:
        raise BundleFormatError("invalid JSON", expected=f"at most {MOST_LEVELS} levels", got="more") from None
    except ValueError as error:
        raise BundleFormatError("invalid JSON", got=str(error)) from None
    if not isinstance(value, dict):
        raise BundleFormatError("top level", expected="an object", got=kind(value))
    return value


def exact_keys(cls: type, value: dict[str, Any]) -> dict[str, Any]:
    """`value`, if its keys are exactly the fields of the dataclass `cls`.

    Raises:
        BundleFormatError: a key is missing or unknown.
    """
    names = {field.name for field in fields(cls)}
    for key in sorted(names - value.keys()):
        raise BundleFormatError(key, expected="a value", got="no such key")
    for key in sorted(value.keys() - names):
        raise BundleFormatError(key, expected=f"only the keys {', '.join(sorted(names))}", got="an unknown key")
    return value


def text(value: object, where: str, *, most: int = MOST_CHARACTERS) -> str:
    """`value` as text of 1 to `most` characters, all printable (`printable.py`): it is shown to people."""
    if not isinstance(value, str):
        raise BundleFormatError(where, expected="text", got=kind(value))
    if not value:
        raise BundleFormatError(where, expected="text", got="empty text")
    if len(value) > most:
        raise BundleFormatError(where, expected=f"at most {most} characters", got=f"{len(value)}")
    if not value.isprintable():
        raise BundleFormatError(where, expected="printable text", got=repr(value))
    return str(value)


def boolean(value: object, where: str) -> bool:
    """`value` as a bool."""
    if not isinstance(value, bool):
        raise BundleFormatError(where, expected="a boolean", got=kind(value))
    return value


def integer(value: object, where: str, *, least: int | None = None) -> int:
    """`value` as an integer, at least `least`, below 2^64 in size."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise BundleFormatError(where, expected="an integer", got=kind(value))
    if abs(value) >= 2**64 or (least is not None and value < least):
        expected = "an integer of at most 64 bits" if least is None else f"an integer from {least} to 2^64 - 1"
        raise BundleFormatError(where, expected=expected, got=_short(value))
    return int(value)


def number(value: object, where: str) -> float:
    """`value` as a finite number; an integer below 2^64 in size."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BundleFormatError(where, expected="a number", got=kind(value))
    if isinstance(value, int):
        return float(integer(value, where))
    if not math.isfinite(value):
        raise BundleFormatError(where, expected="a finite number", got=repr(value))
    return float(value)


def items(value: object, where: str) -> tuple[Any, ...]:
    """`value` as a tuple, from a list or a tuple."""
    if not isinstance(value, (list, tuple)):
        raise BundleFormatError(where, expected="a list", got=kind(value))
    return tuple(value)


def json_object(value: object, where: str) -> dict[str, Any]:
    """A deep copy of a mapping that holds only what JSON can hold; tuples become lists.

    Raises:
        BundleFormatError: no mapping; a key that is no text; half of a surrogate pair, NaN, infinity or any other
            value that JSON has no word for.
    """
    if not isinstance(value, Mapping):
        raise BundleFormatError(where, expected="an object", got=kind(value))
    copy: dict[str, Any] = _json_value(value, where, depth=0)
    return copy


def _json_value(value: object, where: str, *, depth: int) -> Any:
    if depth > MOST_LEVELS:
        raise BundleFormatError(where, expected=f"at most {MOST_LEVELS} levels", got="more")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _unicode(value, where)
    if isinstance(value, int):
        return integer(value, where)
    if isinstance(value, float):
        return number(value, where)
    if isinstance(value, (list, tuple)):
        return [
            item if _is_plain(item) else _json_value(item, f"{where}[{index}]", depth=depth + 1)
            for index, item in enumerate(value)
        ]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise BundleFormatError(where, expected="keys that are text", got=f"the key {key!r}")
            _unicode(key, where)
        return {
            str(key): item if _is_plain(item) else _json_value(item, f"{where}.{key}", depth=depth + 1)
            for key, item in value.items()
        }
    raise BundleFormatError(where, expected="a value that JSON can hold", got=kind(value))


def _is_plain(value: object) -> bool:
    """Whether a value is one of the many that nothing can be wrong with: their paths, which take time, are not made."""
    if type(value) is str:
        return value.isascii()
    if type(value) is int:
        return abs(value) < 2**64
    return value is None or type(value) is bool or (type(value) is float and math.isfinite(value))


def _unicode(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BundleFormatError(where, expected="Unicode text", got=ascii(value)) from None
    return str(value)


def _short(value: int) -> str:
    return str(value) if value.bit_length() <= 64 else f"{value.bit_length()} bits"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key, item in pairs:
        if key in value:
            raise BundleFormatError(key, expected="each key once", got="the key twice")
        value[key] = item
    return value


def _parse_integer(digits: str) -> int:
    if len(digits.lstrip("-")) > _MOST_DIGITS:  # thousands of digits take Python long, or are refused with odd advice
        raise BundleFormatError("invalid JSON", expected="integers of at most 64 bits", got=f"{len(digits)} digits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise BundleFormatError("invalid JSON", expected="finite numbers", got=name)
