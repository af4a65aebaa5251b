"""The section `bundle`: when the graph is stored packed."""

from __future__ import annotations

import pytest

from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.recipe.compression_base import CompressionStep
from hardtemper.toolchain.recipe.filter_pruning import FilterPruning
from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.recipe import Recipe


class Stored(FilterPruning):
    """A step whose gain is in storage alone, if it changes anything."""

    @property
    def packs(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("pack", "step", "expected"),
    [
        ("auto", FilterPruning(), False),
        ("auto", Stored(), True),
        ("auto", Stored(sparsity=0), False),
        ("always", FilterPruning(), True),
        ("never", Stored(), False),
    ],
)
def test_when_a_graph_is_packed(pack: str, step: CompressionStep, expected: bool) -> None:
    recipe = Recipe(bundle={"pack": pack}).model_copy(update={"compress": (step,)})
    assert recipe.packs is expected


def test_another_word_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"bundle\.pack.*'auto', 'always' or 'never'"):
        with_overrides({}, {"bundle.pack": "sometimes"})
