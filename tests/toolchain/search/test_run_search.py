"""A search from the recipe to the front: budgets, resuming, and points that build."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hardtemper.runtime.errors import DataError, InputError
from hardtemper.toolchain.pipeline.pipeline import build
from hardtemper.toolchain.recipe.read import load_recipe, with_overrides
from hardtemper.toolchain.recipe.recipe import Recipe
from hardtemper.toolchain.recipe.recipe_toml import recipe_toml
from hardtemper.toolchain.search.budget import Budget
from hardtemper.toolchain.search.run_search import search

pytestmark = pytest.mark.usefixtures("lower_once")
Small = Callable[..., Recipe]


class Stop(Exception):  # noqa: N818 - ends a search where the test has seen enough
    pass


def test_every_point_meets_the_budget_and_none_beats_another(searched: Any) -> None:
    result = searched.result
    limit = result.space.budget.limit
    assert len(result.outcomes) == 3
    assert result.front
    assert all(0 < point.quantity <= limit for point in result.front)
    assert all(a.quantity < b.quantity and a.accuracy < b.accuracy for a, b in pairwise(result.front))
    first, second, third = result.outcomes
    assert first.values["target"] == second.values["target"] > third.values["target"]
    assert len({value for name, value in first.values.items() if name.startswith("rate")}) == 1
    assert len({value for name, value in second.values.items() if name.startswith("rate")}) > 1  # by sensitivity


def test_a_point_builds_and_reproduces_its_cost_and_accuracy(searched: Any, tmp_path: Path) -> None:
    result = searched.result
    point = result.front[-1]
    path = tmp_path / "point.toml"
    path.write_text(recipe_toml(result.recipe(len(result.front) - 1)), encoding="utf-8")
    made = build(with_overrides(load_recipe(str(path)), {}), out=tmp_path / "out")
    assert made.stages.compressed.macs_after == point.quantity
    shares = [row["value"] for row in made.bundle.manifest.measurements]
    assert shares == [point.clean, point.robust]
    assert made.bundle.manifest.proofs["parity"]["engine_logits"] == 0


def test_an_interrupted_search_goes_on_to_the_same_trials(searched: Any, small: Small, tmp_path: Path) -> None:
    out, seen = tmp_path / "out", []

    def stop(task: str, *_: Any) -> None:
        seen.append(task)
        if seen.count("fine-tune") == 2:
            raise Stop

    with pytest.raises(Stop):
        search(small(), searched.result.space.budget, out=out, trials=3, progress=stop)
    again: list[str] = []
    result = search(
        small(), searched.result.space.budget, out=out, trials=3, progress=lambda task, *_: again.append(task)
    )
    assert not {"train", "layer sensitivity"} & set(again)  # the dense network is trained once
    known = [replace(outcome, number=0) for outcome in searched.result.outcomes]
    found = [replace(outcome, number=0) for outcome in result.outcomes]
    assert sorted(map(str, found)) == sorted(map(str, known))
    assert result.sensitivity == searched.result.sensitivity


def test_a_finished_search_tells_its_front_again(searched: Any, small: Small, tmp_path: Path) -> None:
    shutil.copytree(searched.out, tmp_path / "out")
    again = search(small(), searched.result.space.budget, out=tmp_path / "out", trials=3)
    assert again.front == searched.result.front
    for recipe, budget in [(small(seed=1), again.space.budget), (small(), Budget("macs", 29_999))]:
        with pytest.raises(InputError, match="holds another search"):
            search(recipe, budget, out=tmp_path / "out", trials=3)


def test_what_cannot_work_is_said_before_any_training(small: Small, tmp_path: Path) -> None:
    def refuse(task: str, *_: Any) -> None:
        assert task not in ("train", "fine-tune")

    cases: list[tuple[Recipe, Budget, type[InputError], str]] = [
        (
            small(),
            Budget("macs", 10),
            InputError,
            r"no candidate meets --budget macs=10; expected: macs=[\d,]+ or more",
        ),
        (small(**{"data.heldout": 0}), Budget("macs", 3e4), DataError, "data.heldout > 0"),
        (small(**{"search.images": 8}), Budget("macs", 3e4), DataError, "too few training images for one batch"),
    ]
    for number, (recipe, budget, kind, words) in enumerate(cases):
        with pytest.raises(kind, match=words):
            search(recipe, budget, out=tmp_path / str(number), trials=1, progress=refuse)
