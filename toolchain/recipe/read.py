"""Reads a recipe: a shipped one or a TOML file, with single keys overridden."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...bench.data.named import NAMES
from ...runtime.errors import RecipeError
from .adversary import DISTILLING
from .compression_methods import STEPS, check_steps, unknown_method
from .describe import recipe_keys
from .recipe import Recipe
from .toml_text import LONGEST, TOMLDecodeError, check_value, parse_toml

__all__ = ["load_recipe", "recipe_names", "with_overrides"]


def recipe_names() -> list[str]:
    """The recipes that ship with the package."""
    folder = resources.files("hardtemper.toolchain.recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(name: str) -> dict[str, Any]:
    """The settings of a shipped recipe or of a TOML file, not validated yet.

    Raises:
        RecipeError: no such recipe, or no TOML.
    """
    path = Path(name)
    is_file = os.path.isfile(path)  # noqa: PTH113 - unlike Path.is_file it says no to a name that no system can hold
    if path.suffix == ".toml" or is_file:
        if not is_file:
            raise RecipeError(f"the recipe {name} does not exist", expected="a TOML file", fix=_shipped())
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                text = file.read(LONGEST + 1)
        except OSError as error:
            raise RecipeError(f"the recipe {name} cannot be read", got=error.strerror or str(error)) from error
    elif name in recipe_names():
        text = resources.files("hardtemper.toolchain.recipes").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    else:
        near = difflib.get_close_matches(name, recipe_names(), n=1, cutoff=0.4)
        raise RecipeError(
            f"unknown recipe {name!r}",
            expected=_shipped(),
            fix=f"did you mean {near[0]!r}?" if near else "give a recipe's name or a .toml file",
        )
    try:
        return parse_toml(text, f"the recipe {name}")
    except TOMLDecodeError as error:
        raise RecipeError(f"the recipe {name} is no TOML", got=str(error)) from error


def with_overrides(settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> Recipe:
    """The recipe of `settings` with single values replaced.

    Args:
        settings: as in a TOML file.
        overrides: by dotted key, "finetune.epochs": 5. "compress.filters.sparsity" is set in every step of the method
            `filters`; a recipe without such a step gets one at the end of its list. Behind
            "compress.filters.per_layer." and "quantize.layer_weight_bits." stands a layer's name, dots and all.

            Another `model.name` drops the other settings of that section, which are about the recipe's own network;
            another `data.name` drops the order of the classes and, where it is no known one, the root and the download;
            another threat, attack or number of steps of the adversary drops the step size, and another objective the
            weight, the temperature and a teacher that it has no use for. TOML has no way to unset them.

    Raises:
        RecipeError: an unknown key (with the nearest known one) or a value that does not fit.
    """
    check_value(settings, "a recipe")
    merged: dict[str, Any] = _copied(settings)
    _check_compress(merged)
    _drop_stale(merged, overrides)
    for dotted, value in overrides.items():
        if dotted.startswith("compress."):
            _set_in_steps(merged, dotted, value)
        else:
            _set(merged, dotted, value)
    return _validated(merged)


def _drop_stale(merged: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Drop the settings that are about a network, data set or adversary which `overrides` replaces."""
    if _changed(merged, overrides, "model", "name"):
        merged["model"] = {}
    if _changed(merged, overrides, "data", "name"):
        merged["data"].pop("class_order", None)
        for key in () if overrides["data.name"] in NAMES else ("root", "download"):
            merged["data"].pop(key, None)
    if any(_changed(merged, overrides, "adversary", key) for key in ("threat", "attack", "steps")):
        merged["adversary"].pop("step_size", None)
    if _changed(merged, overrides, "adversary", "objective"):
        for key in ("weight", "temperature"):
            merged["adversary"].pop(key, None)
        if overrides["adversary.objective"] not in DISTILLING:
            merged["adversary"].pop("teacher", None)


def _copied(value: Any) -> Any:
    """A copy that may be changed: mappings become dicts, tuples lists."""
    if isinstance(value, Mapping):
        if others := [key for key in value if not isinstance(key, str)]:
            raise RecipeError("a recipe", expected="keys that are text", got=repr(others[0]))
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _check_compress(merged: Mapping[str, Any]) -> None:
    if "compress" in merged:
        check_steps(merged["compress"])


def _validated(merged: Mapping[str, Any]) -> Recipe:
    check_value(merged, "a recipe")
    _check_compress(merged)
    try:
        # strict, or `epochs = true` would be one epoch; by way of JSON, which unlike TOML's Python values has no types
        # but a recipe's own (a path is a string, a tuple is a list)
        return Recipe.model_validate_json(json.dumps(merged, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise RecipeError("a recipe", expected="Unicode text", got=first["msg"]) from error
        location, step = list(first["loc"]), ""
        if location[:1] == ["compress"] and len(location) > 2:
            number = location.pop(1)  # of the step; its method follows
            step = f" in step {int(number) + 1} of [[compress]]" if len(merged["compress"]) > 1 else ""
        # branches of a union are part of pydantic's location, not of the key
        where = ".".join(str(part) for part in location if "[" not in str(part))
        if first["type"] == "extra_forbidden":
            raise _unknown(where) from error
        meaning = {key.key: key.description for key in recipe_keys()}.get(where, "")
        raise RecipeError(
            f"recipe key {where!r}{step}",
            expected=first["msg"].removeprefix("Input should be ") + (f" ({meaning})" if meaning else ""),
            got=repr(first["input"]),
        ) from error


def _set(place: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, key = dotted.split(".", 2)
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise _unknown(dotted)
    place[key] = value


def _set_in_steps(merged: dict[str, Any], dotted: str, value: Any) -> None:
    """Set "compress.METHOD.KEY" in every step of the method; add a step where there is none."""
    _, method, *keys = dotted.split(".", 3)
    if not keys:
        raise _unknown(dotted)
    if method not in STEPS:
        raise unknown_method(method)
    steps = merged.setdefault("compress", [step.model_dump(mode="json") for step in Recipe().compress])
    if not any(step["method"] == method for step in check_steps(steps)):
        steps.append({"method": method})
    for step in steps:
        if step["method"] != method:
            continue
        place = step
        for key in keys[:-1]:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise _unknown(dotted)
        place[keys[-1]] = value


def _changed(settings: Mapping[str, Any], overrides: Mapping[str, Any], section: str, key: str) -> bool:
    """Whether a value that a recipe's section gives, or would get by default, is replaced by another."""
    given = settings.get(section)
    dotted = f"{section}.{key}"
    if dotted not in overrides or not isinstance(given, dict):
        return False
    return bool(overrides[dotted] != given.get(key, getattr(getattr(Recipe(), section), key)))


def _unknown(key: str) -> RecipeError:
    known = [*Recipe.model_fields, *(key.key for key in recipe_keys())]
    section = key.rpartition(".")[0]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    siblings = [k for k in known if k.rpartition(".")[0] == section and section] or list(Recipe.model_fields)
    return RecipeError(
        f"unknown recipe key {key!r}",
        expected=", ".join(siblings),
        fix=f"did you mean {near[0]!r}?" if near else "",
    )


def _shipped() -> str:
    return f"one of {', '.join(recipe_names())}, or a .toml file"
