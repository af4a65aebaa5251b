"""Every key of a recipe with its type, range, default and meaning, made from the sections themselves.

python -m hardtemper.toolchain.recipe.describe > recipe.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from .compression_methods import STEPS
from .recipe import Recipe

__all__ = ["RecipeKey", "RecipeSection", "recipe_keys", "recipe_keys_markdown", "recipe_sections"]

_BOUNDS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
_TYPES = {"boolean": "true or false", "number": "number", "integer": "integer", "string": "string"}


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeKey:
    """One key.

    Attributes:
        key: dotted, as `--set` takes it: "train.epochs".
        name: the last part, as a TOML file has it: "epochs".
        type: in words.
        range: such as ">= 0, < 1"; "" where any value of the type will do.
        default: as TOML; "" where the key is not set by default.
        description: what it means.
    """

    key: str
    name: str
    type: str
    range: str
    default: str
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeSection:
    """One section of a TOML file.

    Attributes:
        header: as in the file: "[train]", or "[[compress]]" with its method; "" for the keys before any section.
        description: what it is for.
        keys: of the section, in order.
    """

    header: str
    description: str
    keys: tuple[RecipeKey, ...]


def recipe_sections() -> tuple[RecipeSection, ...]:
    """All sections; `[[compress]]` once a method."""
    top = {name: field.annotation for name, field in Recipe.model_fields.items()}
    models = {name: kind for name, kind in top.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}
    found = [RecipeSection(header="", description="", keys=tuple(_keys(Recipe, "", without={*models, "compress"})))]
    for name in top:
        if name in models:
            keys = tuple(_keys(models[name], f"{name}."))
            found.append(RecipeSection(header=f"[{name}]", description=_summary(models[name]), keys=keys))
        elif name == "compress":
            for method, settings in STEPS.items():
                keys = tuple(_keys(settings, f"compress.{method}.", without={"method"}))
                header = f'[[compress]], method = "{method}"'
                found.append(RecipeSection(header=header, description=_summary(settings), keys=keys))
    return tuple(found)


def recipe_keys() -> tuple[RecipeKey, ...]:
    """All keys, section by section."""
    return tuple(key for section in recipe_sections() for key in section.keys)


def recipe_keys_markdown() -> str:
    """The keys as a page: a table a section."""
    lines = ["# Recipe keys", ""]
    lines += ["A recipe is a TOML file. `toolchain build --set KEY=VALUE` sets one key, such as", "`train.epochs=3`."]
    lines += ["`[[compress]]` is a list: its steps are carried out in order, and `compress = []` compresses nothing."]
    for section in recipe_sections():
        lines += ["", f"## `{section.header}`" if section.header else "## Before the first section", ""]
        if section.description:
            lines += [section.description, ""]
        lines += ["| key | type | range | default | meaning |", "| --- | --- | --- | --- | --- |"]
        for key in section.keys:
            default = f"`{key.default}`" if key.default else "not set"
            cells = (f"`{key.key}`", key.type, key.range, default, key.description)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _keys(model: type[BaseModel], prefix: str, without: Collection[str] = ()) -> Iterator[RecipeKey]:
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        if name in without:
            continue
        schema = properties[name]
        yield RecipeKey(
            key=prefix + name,
            name=name,
            type=_type(schema),
            range=_range(schema),
            default=_toml(schema.get("default", field.get_default(call_default_factory=True))),
            description=field.description or "",
        )


def _summary(model: type[BaseModel]) -> str:
    """The first paragraph of a section's docstring."""
    return " ".join((model.__doc__ or "").strip().partition("\n\n")[0].split())


def _branches(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a value may be, null left out."""
    return [branch for branch in schema.get("anyOf", [schema]) if branch.get("type") != "null"]


def _type(schema: Mapping[str, Any]) -> str:
    return " or ".join(_one_type(branch) for branch in _branches(schema))


def _one_type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{_toml(value)}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "")
    if kind == "array":
        (item, *_) = [schema["items"]] if "items" in schema else schema["prefixItems"]
        return f"list of {_plural(_type(item))}"
    if kind == "object":
        return f"table of {_plural(_type(schema['additionalProperties']))}"
    return "path" if schema.get("format") == "path" else _TYPES[kind]


def _plural(kind: str) -> str:
    if kind.startswith("`"):  # names
        return kind
    return kind.replace("list of", "lists of", 1) if kind.startswith("list of") else f"{kind}s"


def _range(schema: Mapping[str, Any]) -> str:
    found = []
    for branch in _branches(schema):
        bounded = branch.get("additionalProperties", branch.get("items", branch))
        found += [f"{sign} {_number(bounded[bound])}" for bound, sign in _BOUNDS.items() if bound in bounded]
        if "pattern" in branch:
            found.append(f"matches `{branch['pattern']}`")
    return ", ".join(found)


def _number(value: float) -> str:
    if isinstance(value, int) and value >= 2**32:
        return f"2^{value.bit_length() - 1}"
    return str(int(value)) if value == int(value) else str(value)


def _toml(value: Any) -> str:
    """A value as TOML; "" for none."""
    if value is None:
        return ""
    return "{}" if value == {} else json.dumps(value)


if __name__ == "__main__":
    sys.stdout.write(recipe_keys_markdown())
