"""The settings of filter pruning: the paper's by default, and out of range is refused before any network is there."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hardtemper.toolchain.recipe.filter_pruning import FilterPruning


def test_the_papers_setting_is_the_default() -> None:
    settings = FilterPruning()
    assert (settings.method, settings.sparsity, settings.scope, settings.keep) == ("filters", 0.8, "layer", ())


@pytest.mark.parametrize(
    ("settings", "key", "message"),
    [
        ({"sparsity": 1.0}, "sparsity", "less than 1"),
        ({"sparsity": -0.1}, "sparsity", "greater than or equal to 0"),
        ({"sparsity": float("nan")}, "sparsity", "finite number"),
        ({"per_layer": {"stem": 1.5}}, "stem", "less than 1"),
        ({"round_to": 0}, "round_to", "greater than or equal to 1"),
        ({"scope": "group"}, "scope", "'layer' or 'global'"),
        ({"method": "weights"}, "method", "'filters'"),
    ],
)
def test_out_of_range(settings: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        FilterPruning(**settings)
    (error,) = caught.value.errors()
    assert error["loc"][-1] == key
    assert message in error["msg"]


def test_whether_it_changes_a_network() -> None:
    assert FilterPruning().changes_network
    assert FilterPruning(sparsity=0, per_layer={"a": 0.5}).changes_network
    assert not FilterPruning(sparsity=0).changes_network
    assert not FilterPruning(sparsity=0, per_layer={"a": 0.0}).changes_network
