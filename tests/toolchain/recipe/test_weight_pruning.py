"""The settings of weight pruning: what does not go together is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.recipe.weight_pruning import WeightPruning


@pytest.mark.parametrize("pattern", ["4", "0:4", "2:", "a:b", "2:4:8", "100:200"])
def test_a_pattern_is_n_of_m(pattern: str) -> None:
    with pytest.raises(ValidationError, match="pattern"):
        WeightPruning(pattern=pattern)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"pattern": "4:4"}, "keeps N of M weights"),
        ({"pattern": "4:2"}, "keeps N of M weights"),
        ({"pattern": "2:4", "scope": "global"}, "says what each layer keeps"),
        ({"pattern": "2:4", "rounds": 2}, "says what each layer keeps"),
        ({"pattern": "2:4", "per_layer": {"a": 0.5}}, "says what each layer keeps"),
        ({"criterion": "hydra", "scope": "global"}, "hydra learns its scores within a layer"),
        ({"criterion": "lamp"}, "lamp's scores compare layers"),
    ],
)
def test_what_does_not_go_together(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        WeightPruning(**asked)


def test_its_zeros_are_held() -> None:
    assert WeightPruning().holds_zeros
    assert WeightPruning(pattern="2:4").kept_of == (2, 4)
    assert WeightPruning(pattern="2:4", sparsity=0).changes_network
