from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hardtemper.export.quantization.widths import LayerBits
from hardtemper.runtime.errors import CompressionError
from hardtemper.runtime.progress import silent
from hardtemper.toolchain.pipeline.checkpoints import Workspace
from hardtemper.toolchain.pipeline.stages import Prepared, prepare, rehearse
from hardtemper.toolchain.recipe.recipe import Recipe
from hardtemper.toolchain.search.budget import Budget
from hardtemper.toolchain.search.find_space import find_space
from hardtemper.toolchain.search.space import Space

pytestmark = pytest.mark.usefixtures("lower_once")
CONVOLUTIONS = [f"features.{place}" for place in (0, 3, 7, 10, 14, 17)]
BITS = tuple(LayerBits(name=name, weight_bits=8, activation_bits=8) for name in ("first", "inner", "last"))


@pytest.fixture
def find(small: Callable[..., Recipe], tmp_path: Path) -> Callable[..., tuple[Space, Prepared]]:
    def run(**changes: Any) -> tuple[Space, Prepared]:
        recipe = small(**changes)
        prepared = prepare(recipe, Workspace(tmp_path / "work"), silent)
        return find_space(recipe, Budget("macs", 1e5), prepared, BITS), prepared

    return run


def test_the_filters_of_a_network(find: Callable[..., Any]) -> None:
    space, prepared = find(**{"search.largest_sparsity": 0.9})
    assert [knob.name for knob in space.knobs] == CONVOLUTIONS  # no linear layer
    assert [knob.floors["filters"] for knob in space.knobs] == pytest.approx([0.25, 0.25, 0.125, 0.125, 0.1, 0.1])
    assert space.inner == ("inner",)
    smallest = rehearse(space.recipe_of(space.first, space.largest_scale(space.first)), prepared)
    rows = {row.name: row.channels_after for row in smallest.layers}
    assert [rows[name] for name in CONVOLUTIONS] == [1, 1, 1, 1, 2, 2]  # 0.1 of 16 is 1.6: never below the floor


def test_all_methods_down_to_their_floors(find: Callable[..., Any]) -> None:
    """Every layer at its smallest, whatever method it has."""
    space, prepared = find(**{"search.methods": ["filters", "weights", "factorize"]})
    assert {name for knob in space.knobs for name in knob.floors} == {"filters", "weights", "factorize"}
    for method in ("filters", "weights", "factorize"):
        values = space.first | {name: method for name, found in space.choices.items() if method in found}
        compressed = rehearse(space.recipe_of(values, space.largest_scale(values)), prepared)
        assert method in [step.method for step in compressed.steps]
    mixed = {name: found[place % len(found)] for place, (name, found) in enumerate(space.choices.items())}
    values = space.first | mixed
    steps = rehearse(space.recipe_of(values, 2.0), prepared).steps
    assert [step.method for step in steps] == ["factorize", "filters", "weights"]


def test_nothing_to_compress(find: Callable[..., Any]) -> None:
    keep = {"compress": [{"method": "filters", "keep": ["features.*"]}]}
    with pytest.raises(CompressionError, match="nothing in this network can be pruned"):
        find(**keep)
