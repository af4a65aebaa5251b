"""Reads studies: those that ship with the package, and settings that are checked as a whole."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from pydantic import ValidationError

from ...runtime.errors import RecipeError
from ..recipe.toml_text import parse_toml
from .study_file import Study

__all__ = ["load_study", "parse_study", "study_names"]


def study_names() -> list[str]:
    """The studies that ship with the package."""
    folder = resources.files("hardtemper.toolchain.study_files")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_study(name: str) -> Study:
    """A shipped study.

    Raises:
        RecipeError: no such study.
    """
    return parse_study(name, _settings(name))


def parse_study(name: str, settings: Mapping[str, Any]) -> Study:
    """A study of settings as in a TOML file.

    Raises:
        RecipeError: a key or value does not fit, or a cell names a compression that is not there.
    """
    merged = dict(settings)
    if "base" in merged:
        below = _settings(str(merged["base"]))
        for key in ("recipe", "scale", "networks", "compressions"):
            merged[key] = {**below.get(key, {}), **merged.get(key, {})}
        for key in ("train_images", "test_images", "attack"):
            merged |= {key: below[key]} if key in below and key not in merged else {}
    try:
        study = Study.model_validate({"name": name, **merged})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecipeError(f"study {name}, {where}", expected=first["msg"], got=repr(first["input"])) from error
    keys = [cell.key for cell in study.cells]
    networks: set[str | None] = {*study.networks} if study.networks else {None}
    for cell in study.cells:
        if cell.compression not in study.compressions or cell.network not in networks or keys.count(cell.key) > 1:
            named = ", ".join([*study.networks, *study.compressions])
            raise RecipeError(
                f"study {name}: cell {cell.key}",
                expected=f"once, and a network and a compression of {named}",
                got=f"{keys.count(cell.key)} times, {cell.network}, {cell.compression}",
            )
    unknown = {key for picture in study.pictures.values() for key in picture.cells} - set(keys)
    if unknown:
        raise RecipeError(f"study {name}: pictures", expected=f"cells of {', '.join(keys)}", got=", ".join(unknown))
    return study


def _settings(name: str) -> dict[str, Any]:
    known = study_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        raise RecipeError(
            f"unknown study {name!r}",
            expected=f"one of {', '.join(known)}",
            fix=f"did you mean {near[0]!r}?" if near else "",
        )
    text = resources.files("hardtemper.toolchain.study_files").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return parse_toml(text, f"the study {name}")
