"""One trial with its stages replaced: what is refused without training, and what is shortened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from hardtemper.runtime.errors import ModelError
from hardtemper.toolchain.recipe.read import with_overrides
from hardtemper.toolchain.recipe.recipe import Recipe
from hardtemper.toolchain.search.budget import Budget
from hardtemper.toolchain.search.candidate import Evaluation, shortened

MODULE = "hardtemper.toolchain.search.candidate"
VALUES = {"target": 1.0, "rate a": 0.5, "rate b": 1.0, "method a": "filters"}


@dataclass
class Scale:
    """Costs what is left of both layers, and after training `grown` times that."""

    grown: float = 1.0

    def rehearsed(self, recipe: Recipe, prepared: Any) -> float:
        self.last = sum(1 - found for step in recipe.compress for found in step.per_layer.values())
        return self.last if recipe.compress else 2.0

    def of(self, recipe: Recipe, hardened: Any) -> float:
        return self.grown * self.rehearsed(recipe, hardened)


@pytest.fixture
def evaluation(space: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Evaluation]:
    def make(limit: float, harden: Any = lambda *_: type("Hardened", (), {"network": None}), grown: float = 1.0) -> Any:
        monkeypatch.setattr(f"{MODULE}.harden", harden)
        monkeypatch.setattr(f"{MODULE}.held_out_accuracy", lambda *_, **__: (0.9, 0.6))
        data = type("Data", (), {"heldout": None})
        prepared: Any = type("Prepared", (), {"data": data})
        meter: Any = Scale(grown)
        return Evaluation(space=space(Budget("macs", limit)), prepared=prepared, teacher=None, meter=meter)

    return make


def no_training(*_: Any) -> None:
    raise AssertionError("trained")


def test_a_candidate_meets_its_target(evaluation: Callable[..., Evaluation]) -> None:
    outcome = evaluation(1.2)(7, VALUES | {"target": 0.5})
    assert 0.95 * 0.6 <= outcome.quantity <= 0.6
    assert (outcome.number, outcome.clean, outcome.robust) == (7, 0.9, 0.6)
    assert (outcome.excess, outcome.reason, outcome.accuracy) == (0.0, "", 0.6)


def test_a_target_out_of_reach_becomes_the_smallest_that_is_reached(evaluation: Callable[..., Evaluation]) -> None:
    outcome = evaluation(0.4)(0, VALUES | {"target": 0.25})
    assert outcome.quantity == pytest.approx(0.25 + 0.05)
    assert outcome.reason == ""


def test_over_the_budget_without_training(evaluation: Callable[..., Evaluation]) -> None:
    outcome = evaluation(0.2, harden=no_training)(0, VALUES)
    assert outcome.reason == "over the budget"
    assert outcome.excess == pytest.approx(0.3 / 0.2 - 1)
    assert outcome.clean is None
    assert outcome.accuracy == 0


def test_over_the_budget_behind_training(evaluation: Callable[..., Evaluation]) -> None:
    outcome = evaluation(1.0, grown=1.5)(0, VALUES)
    assert outcome.reason == "over the budget after training"
    assert outcome.excess == pytest.approx(outcome.quantity - 1)
    assert outcome.quantity > 1


def test_a_training_that_fails_is_a_candidate_less(evaluation: Callable[..., Evaluation]) -> None:
    def diverge(*_: Any) -> None:
        raise ModelError("the loss became NaN")

    outcome = evaluation(1.0, harden=diverge)(0, VALUES)
    assert (outcome.reason, outcome.excess) == ("the loss became NaN", 1.0)


def test_shorter_fine_tuning() -> None:
    recipe = with_overrides({}, {"search.epochs": 1, "finetune.epochs": 9})
    assert shortened(recipe, recipe).finetune == recipe.finetune.model_copy(update={"epochs": 1})
    whole = with_overrides({}, {"finetune.epochs": 9})
    assert shortened(whole, whole) == whole
