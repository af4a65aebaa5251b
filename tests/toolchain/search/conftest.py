"""One search of the tiny recipe, and a space that needs no network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.recipe import Recipe
from hardtemper.toolchain.search.budget import Budget
from hardtemper.toolchain.search.run_search import SearchResult, search
from hardtemper.toolchain.search.space import Knob, Space

SEARCHED: dict[str, Any] = {
    "name": "tiny",
    "robust": True,
    "data": {"heldout": 64, "calibration": 32},
    "model": {"name": "cnn8", "width": 4, "hidden": 16},
    "train": {"epochs": 3, "batch_size": 32, "learning_rate": 0.1, "momentum": 0.9, "schedule": "one-cycle"},
    "compress": [{"method": "filters", "sparsity": 0.5}],
    "adversary": {"threat": "linf:0.1", "steps": 2, "step_size": 0.06},
    "finetune": {"epochs": 2, "batch_size": 32, "learning_rate": 0.05, "momentum": 0.9, "schedule": "one-cycle"},
    "finetune_twin": {"epochs": 1, "batch_size": 32, "images": 64},
}
BUDGET = Budget("macs", 30_000)


@pytest.fixture
def small(npz: Path) -> Callable[..., Recipe]:
    """The recipe of `searched`, with changes."""

    def make(**changes: Any) -> Recipe:
        return with_overrides(copy.deepcopy(SEARCHED), {"data.name": str(npz), **changes})

    return make


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Searched:
    """A finished search, and its folder."""

    out: Path
    result: SearchResult


@pytest.fixture(scope="session")
def searched(npz: Path, tmp_path_factory: pytest.TempPathFactory, lower_once: None) -> Searched:
    """Three trials under a budget of MACs. Tests copy the folder before they change it."""
    out = tmp_path_factory.mktemp("searched") / "out"
    recipe = with_overrides(copy.deepcopy(SEARCHED), {"data.name": str(npz)})
    return Searched(out=out, result=search(recipe, BUDGET, out=out, trials=3))


@pytest.fixture(scope="session")
def space() -> Callable[..., Space]:
    """Two layers of no network."""

    def make(budget: Budget = BUDGET, **search: Any) -> Space:
        recipe = with_overrides({"compress": [{"method": "filters", "criterion": "l2"}]}, {})
        recipe = with_overrides(
            recipe.model_dump(mode="json", exclude_none=True), {f"search.{key}": value for key, value in search.items()}
        )
        knobs = (Knob(name="a", floors={"factorize": 0.2, "filters": 0.25}), Knob(name="b", floors={"filters": 0.05}))
        return Space(recipe=recipe, budget=budget, knobs=knobs, layers=("a", "b", "c"), inner=("b",))

    return make
