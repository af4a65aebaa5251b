"""The option `--set KEY=VALUE`: one key of a recipe, its value as in TOML."""

from __future__ import annotations

from typing import Any

from ...runtime.errors import RecipeError
from ..recipe.toml_text import TOMLDecodeError, parse_toml

__all__ = ["read_setting"]


def read_setting(text: str) -> tuple[str, Any]:
    """Key and value; a bare word is a string.

    Raises:
        RecipeError: no equals sign.
    """
    key, equals, value = text.partition("=")
    if not equals:
        from ..recipe.read import recipe_names

        raise RecipeError("--set", expected="KEY=VALUE", got=text, fix=f"recipes: {', '.join(recipe_names())}")
    try:
        return key.strip(), parse_toml(f"value = {value}", f"--set {key.strip()}")["value"]
    except TOMLDecodeError:
        return key.strip(), value
