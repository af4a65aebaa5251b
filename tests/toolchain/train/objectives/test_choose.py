"""From a recipe's word to the objective with the settings it takes."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from torch import nn

from hardtemper.runtime.errors import RecipeError
from hardtemper.toolchain.recipe.adversary import Adversary, ObjectiveName
from hardtemper.toolchain.train.objectives.adversarial import Adversarial
from hardtemper.toolchain.train.objectives.choose import OBJECTIVES, objective_of
from hardtemper.toolchain.train.objectives.distillation import (
    AdaptiveDistillation,
    RobustDistillation,
    SoftLabelDistillation,
)
from hardtemper.toolchain.train.objectives.margin import MaximumMargin
from hardtemper.toolchain.train.objectives.mart import Mart
from hardtemper.toolchain.train.objectives.trades import Trades

T = nn.Identity()
PUBLISHED: dict[str, Any] = {
    "adversarial": Adversarial(smoothing=0.1),
    "trades": Trades(weight=6.0, smoothing=0.1),
    "mart": Mart(weight=5.0, smoothing=0.1),
    "mmr": MaximumMargin(weight=0.1, smoothing=0.1),
    "ard": RobustDistillation(teacher=T, weight=1.0, temperature=1.0, smoothing=0.1),
    "rslad": SoftLabelDistillation(teacher=T, weight=5 / 6),
    "adaad": AdaptiveDistillation(teacher=T, weight=1.0),
}


def test_every_word_of_a_recipe_is_known() -> None:
    assert set(get_args(Adversary.model_fields["objective"].annotation)) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_weight_unless_one_is_given(name: Any) -> None:
    assert objective_of(Adversary(objective=name), smoothing=0.1, teacher=T) == PUBLISHED[name]
    settings: dict[str, Any] = {"weight": 0.25, "temperature": 4.0}
    taken = {key: value for key, value in settings.items() if hasattr(PUBLISHED[name], key)}
    given: Any = objective_of(Adversary(objective=name, **taken), teacher=T)
    assert type(given) is type(PUBLISHED[name])
    assert {key: getattr(given, key) for key in taken} == taken
    assert getattr(given, "smoothing", 0.0) == 0.0


@pytest.mark.parametrize("name", ["ard", "rslad", "adaad"])
def test_a_teacher_that_is_missing(name: Any) -> None:
    assert Adversary(objective=name).distils
    with pytest.raises(RecipeError, match=f"the objective {name} needs a teacher; expected: a robust network"):
        objective_of(Adversary(objective=name))


@pytest.mark.parametrize("name", ["adversarial", "trades", "mart", "mmr"])
def test_who_needs_no_teacher(name: Any) -> None:
    assert not Adversary(objective=name).distils
    assert not hasattr(objective_of(Adversary(objective=name)), "teacher")


def test_the_table_has_every_objective_that_a_recipe_may_name() -> None:
    assert list(OBJECTIVES) == list(get_args(ObjectiveName))
