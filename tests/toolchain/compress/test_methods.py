"""The table of compression methods and the table of their settings are about the same methods."""

from __future__ import annotations

import inspect

import pytest

from hardtemper.toolchain.compress.methods import INTEGER_METHODS, METHODS
from hardtemper.toolchain.recipe.compression_methods import STEPS


def test_every_method_that_a_recipe_may_name_can_be_carried_out() -> None:
    assert {name: method.settings for name, method in {**METHODS, **INTEGER_METHODS}.items()} == dict(STEPS)
    assert {name for name, settings in STEPS.items() if settings.on_integers} == set(INTEGER_METHODS)


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_has_its_own_name_and_the_signature_of_a_method(name: str) -> None:
    assert METHODS[name].settings().method == name
    assert list(inspect.signature(METHODS[name].compress).parameters) == ["module", "settings", "context"]


@pytest.mark.parametrize("name", list(INTEGER_METHODS))
def test_so_has_a_method_on_integers(name: str) -> None:
    assert INTEGER_METHODS[name].settings().method == name
    assert list(inspect.signature(INTEGER_METHODS[name].compress).parameters) == ["graph", "settings"]
