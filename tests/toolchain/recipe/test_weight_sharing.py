"""The settings of weight sharing."""

from __future__ import annotations

from typing import Any

import pytest

from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.weight_sharing import WeightSharing

SHARING = {"method": "sharing"}


def test_the_papers_bits_are_the_defaults() -> None:
    recipe = with_overrides({"compress": [SHARING]}, {})
    (step,) = recipe.compress
    assert isinstance(step, WeightSharing)
    assert (step.conv_bits, step.linear_bits) == (8, 5)
    assert (recipe.packs, step.holds_zeros) == (True, False)


@pytest.mark.parametrize("key", ["conv_bits", "linear_bits"])
@pytest.mark.parametrize("bits", [0, 9, 2.5])
def test_bits_out_of_range(key: str, bits: float) -> None:
    with pytest.raises(RecipeError, match=f"sharing.{key}"):
        with_overrides({"compress": [{**SHARING, key: bits}]}, {})


def test_bits_of_a_layer_out_of_range() -> None:
    with pytest.raises(RecipeError, match="per_layer"):
        with_overrides({"compress": [{**SHARING, "per_layer": {"classifier.0": 9}}]}, {})


def test_it_comes_behind_the_steps_on_the_network() -> None:
    filters: dict[str, Any] = {"method": "filters", "sparsity": 0.5}
    recipe = with_overrides({"compress": [filters, SHARING]}, {})
    assert [step.method for step in recipe.network_steps] == ["filters"]
    assert [step.method for step in recipe.integer_steps] == ["sharing"]
    with pytest.raises(RecipeError, match="sharing works on the integer graph, so it comes last"):
        with_overrides({"compress": [SHARING, filters]}, {})
