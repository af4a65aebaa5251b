from __future__ import annotations

from typing import Any

import pytest

from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.compress.methods import METHODS
from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.search_space import SEARCHED


def test_searched_methods_are_methods_on_the_network() -> None:
    assert set(SEARCHED) <= set(METHODS)


@pytest.mark.parametrize(
    "change",
    [
        {"search.methods": ["atmc"]},
        {"search.largest_sparsity": 1.0},
        {"search.weight_bits": [0]},
        {"search.activation_bits": [16]},
        {"search.epochs": -1},
        {"search.images": 0},
    ],
)
def test_what_no_search_can_use(change: dict[str, Any]) -> None:
    (key,) = change
    with pytest.raises(RecipeError, match=f"recipe key '{key}"):
        with_overrides({}, change)
