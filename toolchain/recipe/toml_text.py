"""TOML of anybody's, with limits: a text that parses for minutes, or not at all, is one error.

Python's parser recurses into arrays and tables, and Python refuses to make an integer of more than 4300 decimal digits,
but not of hexadecimal ones. So the text's length is limited, and whole numbers are those that TOML asks every parser to
take: 64 bits (TOML 1.0.0, "Integer").
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ...runtime.errors import RecipeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["LONGEST", "TOMLDecodeError", "check_value", "parse_toml"]

TOMLDecodeError = tomllib.TOMLDecodeError
"""What a text that is no TOML raises."""

LONGEST = 2**20
"""In characters; the longest shipped recipe has a thousandth of that."""
_DEEPEST = 20
"""Deeper than any section; a mapping that holds itself is refused here."""
_LARGEST = 2**64


def parse_toml(text: str, what: str) -> dict[str, Any]:
    """The values of a TOML text.

    Args:
        text: the document.
        what: what to call it in errors.

    Raises:
        TOMLDecodeError: no TOML.
        RecipeError: too long, or a value that `check_value` refuses.
    """
    if len(text) > LONGEST:
        raise RecipeError(f"{what} is too long", expected=f"{LONGEST:,} characters at most", got="more")
    try:
        values = tomllib.loads(text)
    except TOMLDecodeError:
        raise
    except RecursionError:
        raise _too_deep(what) from None
    except ValueError:  # int() of too many digits
        raise _too_large(what) from None
    check_value(values, what)
    return values


def check_value(value: Any, what: str, depth: int = 0) -> None:
    """Refuse what is nested too deep or a whole number of more than 64 bits.

    Args:
        value: mappings, lists, and anything else.
        what: what to call it in errors.
        depth: how deep it lies.

    Raises:
        RecipeError: see above.
    """
    if depth > _DEEPEST:
        raise _too_deep(what)
    if isinstance(value, int) and abs(value) >= _LARGEST:
        raise _too_large(what)
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    for item in inner:
        check_value(item, what, depth + 1)


def _too_deep(what: str) -> RecipeError:
    return RecipeError(what, expected=f"settings nested {_DEEPEST} deep at most", got="deeper ones")


def _too_large(what: str) -> RecipeError:
    return RecipeError(what, expected="whole numbers of 64 bits at most", got="a longer one")
