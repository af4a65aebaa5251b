"""From the recipe's word to the objective."""

from __future__ import annotations

from collections.abc import Callable

from ....bench.attacks.access import Model
from ....runtime.errors import RecipeError
from ...recipe.adversary import Adversary
from .adversarial import Adversarial
from .distillation import AdaptiveDistillation, RobustDistillation, SoftLabelDistillation
from .margin import MaximumMargin
from .mart import Mart
from .objective import Objective
from .trades import Trades

__all__ = ["objective_of"]


def objective_of(adversary: Adversary, *, smoothing: float = 0.0, teacher: Model | None = None) -> Objective:
    """The recipe's objective; its weight is the published one where the recipe gives none.

    Args:
        adversary: says which.
        smoothing: label smoothing in [0, 1).
        teacher: of the distillations, images -> logits.

    Raises:
        RecipeError: a distillation without a teacher.
    """
    smooth = {"smoothing": smoothing}
    weight = {} if adversary.weight is None else {"weight": adversary.weight}
    plain: dict[str, Callable[[], Objective]] = {
        "adversarial": lambda: Adversarial(**smooth),
        "trades": lambda: Trades(**smooth, **weight),
        "mart": lambda: Mart(**smooth, **weight),
        "mmr": lambda: MaximumMargin(**smooth, **weight),
    }
    if adversary.objective in plain:
        return plain[adversary.objective]()
    if teacher is None:
        raise RecipeError(f"the objective {adversary.objective} needs a teacher", expected="a robust network")
    if adversary.objective == "ard":
        return RobustDistillation(teacher=teacher, temperature=adversary.temperature, **smooth, **weight)
    if adversary.objective == "rslad":
        return SoftLabelDistillation(teacher=teacher, **weight)
    return AdaptiveDistillation(teacher=teacher, **weight)
