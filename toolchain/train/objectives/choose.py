"""From the recipe's word to the objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ....bench.attacks.access import Model
from ....runtime.errors import RecipeError
from ...recipe.adversary import Adversary, ObjectiveName
from .adversarial import Adversarial
from .distillation import AdaptiveDistillation, RobustDistillation, SoftLabelDistillation
from .margin import MaximumMargin
from .mart import Mart
from .objective import Objective
from .trades import Trades

__all__ = ["OBJECTIVES", "objective_of"]


_Maker = Callable[[Adversary, float, Any, dict[str, float]], Objective]
OBJECTIVES: Mapping[ObjectiveName, _Maker] = {
    "adversarial": lambda _, smoothing, __, ___: Adversarial(smoothing=smoothing),
    "trades": lambda _, smoothing, __, weight: Trades(smoothing=smoothing, **weight),
    "mart": lambda _, smoothing, __, weight: Mart(smoothing=smoothing, **weight),
    "mmr": lambda _, smoothing, __, weight: MaximumMargin(smoothing=smoothing, **weight),
    "ard": lambda adversary, smoothing, teacher, weight: RobustDistillation(
        teacher=teacher, temperature=adversary.temperature, smoothing=smoothing, **weight
    ),
    "rslad": lambda _, __, teacher, weight: SoftLabelDistillation(teacher=teacher, **weight),
    "adaad": lambda _, __, teacher, weight: AdaptiveDistillation(teacher=teacher, **weight),
}
"""By the recipe's word: (adversary, label smoothing, teacher, the weight or nothing) -> objective."""


def objective_of(adversary: Adversary, *, smoothing: float = 0.0, teacher: Model | None = None) -> Objective:
    """The recipe's objective; its weight is the published one where the recipe gives none.

    Args:
        adversary: says which.
        smoothing: label smoothing in [0, 1).
        teacher: of the distillations, images -> logits.

    Raises:
        RecipeError: a distillation without a teacher.
    """
    if adversary.distils and teacher is None:
        raise RecipeError(f"the objective {adversary.objective} needs a teacher", expected="a robust network")
    weight = {} if adversary.weight is None else {"weight": adversary.weight}
    return OBJECTIVES[adversary.objective](adversary, smoothing, teacher, weight)
