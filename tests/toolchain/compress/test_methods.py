"""The table of compression methods and the table of their settings are about the same methods."""

from __future__ import annotations

import inspect

import pytest

from hardtemper.toolchain.compress.methods import METHODS
from hardtemper.toolchain.recipe.compression_methods import STEPS


def test_every_method_that_a_recipe_may_name_can_be_carried_out() -> None:
    assert {name: method.settings for name, method in METHODS.items()} == dict(STEPS)


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_has_its_own_name_and_the_signature_of_a_method(name: str) -> None:
    assert METHODS[name].settings().method == name
    assert list(inspect.signature(METHODS[name].compress).parameters) == ["module", "settings", "context"]
