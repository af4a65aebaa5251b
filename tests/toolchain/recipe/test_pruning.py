"""What all pruning steps have, by the methods that have it."""

from __future__ import annotations

import pytest

from hardtemper.toolchain.recipe.compression_methods import STEPS
from hardtemper.toolchain.recipe.filter_pruning import FilterPruning
from hardtemper.toolchain.recipe.pruning import Pruning
from hardtemper.toolchain.recipe.weight_pruning import WeightPruning


@pytest.mark.parametrize("settings", [FilterPruning, WeightPruning])
def test_one_round_of_80_percent_is_the_default(settings: type[Pruning]) -> None:
    made = settings()
    assert settings in STEPS.values()
    assert (made.sparsity, made.scope, made.rounds, made.criterion) == (0.8, "layer", 1, "l1")  # type: ignore[attr-defined]
    assert made.changes_network
    assert not settings(sparsity=0).changes_network
    assert settings(sparsity=0, per_layer={"stem": 0.5}).changes_network
    assert "method" not in made.account
    assert made.account["sparsity"] == 0.8
