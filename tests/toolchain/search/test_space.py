"""A candidate's values and the recipe that they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.recipe import Recipe
from hardtemper.toolchain.search.budget import Budget
from hardtemper.toolchain.search.space import Space, searched_methods

Make = Callable[..., Space]
VALUES = {"target": 1.0, "rate a": 0.5, "rate b": 1.0, "method a": "filters"}


def steps(recipe: Recipe) -> list[dict[str, Any]]:
    return [step.model_dump() for step in recipe.compress]


def test_what_is_searched(space: Make) -> None:
    made = space(weight_bits=[4, 8], activation_bits=[8], sharing_bits=[])
    assert made.ranges == {"rate a": (0.05, 1.0), "rate b": (0.05, 1.0)}
    assert made.choices == {"method a": ("factorize", "filters"), "weight_bits b": (4, 8)}


def test_kept_shares_follow_their_rates_down_to_the_floors(space: Make) -> None:
    made = space()
    (filters,) = steps(made.recipe_of(VALUES, 1.0))
    assert filters["criterion"] == "l2"  # the recipe's own step
    assert filters["sparsity"] == 0
    assert filters["per_layer"] == {
        "a": pytest.approx(1 - math.exp(-0.5), abs=1e-4),
        "b": pytest.approx(1 - math.exp(-1.0), abs=1e-4),
    }
    assert made.recipe_of(VALUES, 0.0).compress == ()
    (filters,) = steps(made.recipe_of(VALUES, made.largest_scale(VALUES)))
    assert filters["per_layer"] == {"a": 0.75, "b": 0.95}


@given(st.floats(0, 200), st.floats(0.05, 1), st.floats(0.05, 1))
def test_no_floor_is_passed_whatever_is_rounded(space: Make, scale: float, a: float, b: float) -> None:
    values = {"target": 1.0, "rate a": a, "rate b": b, "method a": "factorize"}
    for step in steps(space().recipe_of(values, scale)):
        for name, found in step["per_layer"].items():
            kept = found if step["method"] == "factorize" else 1 - found
            assert {"a": 0.2, "b": 0.05}[name] - 1e-12 <= kept <= 1


def test_a_layer_has_one_method(space: Make) -> None:
    factorize, filters = steps(space().recipe_of(VALUES | {"method a": "factorize"}, 1.0))
    assert factorize["method"] == "factorize"
    assert list(factorize["per_layer"]) == ["a"]
    assert sorted(factorize["keep"]) == ["b", "c"]
    assert list(filters["per_layer"]) == ["b"]


def test_bits_and_shared_values_by_layer(space: Make) -> None:
    made = space(weight_bits=[4, 8], activation_bits=[6], sharing_bits=[3, 8])
    recipe = made.recipe_of(VALUES | {"weight_bits b": 4, "sharing_bits b": 3}, 0.0)
    assert recipe.quantize.layer_weight_bits == {"b": 4}
    assert recipe.quantize.layer_activation_bits == {"b": 6}
    (sharing,) = steps(recipe)
    assert (sharing["method"], sharing["conv_bits"], sharing["linear_bits"]) == ("sharing", 8, 8)
    assert sharing["per_layer"] == {"b": 3}
    assert recipe.search == Recipe().search  # a point is no search


@pytest.mark.parametrize(("budget", "pack"), [(Budget("size_kib", 9), "always"), (Budget("macs", 9), "auto")])
def test_a_budget_of_bytes_packs(space: Make, budget: Budget, pack: str) -> None:
    assert space(budget).recipe_of(VALUES, 1.0).bundle.pack == pack


def test_steps_that_are_not_searched_stay(space: Make) -> None:
    made = space(methods=["filters"])
    other = with_overrides(
        made.recipe.model_dump(mode="json", exclude_none=True),
        {"compress": [{"method": "weights", "pattern": "2:4"}, {"method": "filters"}]},
    )
    recipe = Space(recipe=other, budget=made.budget, knobs=made.knobs[1:], layers=made.layers, inner=())
    assert [step["method"] for step in steps(recipe.recipe_of(VALUES, 1.0))] == ["filters", "weights"]


@pytest.mark.parametrize(
    ("compress", "methods", "expected"),
    [
        ([], [], ("filters",)),
        ([{"method": "sharing"}], [], ("filters",)),
        ([{"method": "weights"}, {"method": "factorize"}], [], ("factorize", "weights")),
        ([{"method": "weights"}], ["filters"], ("filters",)),
    ],
)
def test_the_methods_of_a_recipe(compress: list[Any], methods: list[str], expected: tuple[str, ...]) -> None:
    recipe = with_overrides({"compress": compress}, {"search.methods": methods})
    assert searched_methods(recipe) == expected
