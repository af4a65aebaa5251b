"""A recipe as a TOML file: what differs from the defaults, so that it reads as one that was written by hand.

JSON's strings, numbers, booleans and lists are TOML's; a table in a value is an inline table (TOML 1.0.0).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .recipe import Recipe

__all__ = ["recipe_toml"]


def recipe_toml(recipe: Recipe) -> str:
    """The text of a file that `load_recipe` reads, and `with_overrides` makes the same recipe of."""
    settings = recipe.model_dump(mode="json", exclude_defaults=True)
    steps = [
        {"method": step.method, **step.model_dump(mode="json", exclude_defaults=True, exclude={"method"})}
        for step in recipe.compress
    ]
    plain = {key: value for key, value in settings.items() if not isinstance(value, dict) and key != "compress"}
    if not steps:
        plain["compress"] = []
    lines = [_line(key, value) for key, value in plain.items()]
    tables = [(f"[{key}]", value) for key, value in settings.items() if isinstance(value, dict)]
    for header, table in [*tables, *(("[[compress]]", step) for step in steps)]:
        lines += ["", header, *(_line(key, value) for key, value in table.items() if value is not None)]
    return "\n".join(lines).lstrip("\n") + "\n"


def _line(key: str, value: Any) -> str:
    return f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
