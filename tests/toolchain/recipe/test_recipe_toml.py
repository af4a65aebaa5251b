from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hardtemper.toolchain.recipe.read import load_recipe, recipe_names, with_overrides
from hardtemper.toolchain.recipe.recipe import Recipe
from hardtemper.toolchain.recipe.recipe_toml import recipe_toml

STEPS = [
    {"method": "factorize", "per_layer": {"a.b": 0.5, 'odd "name"\x7f': 0.25}, "keep": ["c"]},
    {"method": "filters"},
    {"method": "sharing", "linear_bits": 4},
]


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        *(with_overrides(load_recipe(name), {}) for name in recipe_names()),
        with_overrides({"compress": STEPS}, {"name": "é", "data.name": 'C:\\data "x".npz', "model.name": "a.b:c"}),
        with_overrides({"compress": []}, {"model.normalize": [[0.5], [0.25]], "quantize.layer_weight_bits": {"a": 4}}),
    ],
    ids=lambda recipe: recipe.name,
)
def test_what_is_written_is_read_again(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_toml(recipe), encoding="utf-8")
    assert with_overrides(load_recipe(str(path)), {}) == recipe


def test_defaults_are_left_out() -> None:
    text = recipe_toml(with_overrides({}, {"train.epochs": 3}))
    wanted: Any = ["[train]", "epochs = 3", "", "[[compress]]", 'method = "filters"']
    assert text.splitlines() == wanted
