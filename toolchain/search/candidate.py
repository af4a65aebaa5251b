"""One trial: find the scale at which the budget is met, then harden and measure.

No epoch is spent on a candidate over the budget: its shapes say what it costs, and they are there without training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from ...runtime.errors import CompressionError, ModelError
from ..pipeline.stages import Prepared, harden
from ..recipe.recipe import Recipe
from ..train.heldout import held_out_accuracy
from .fit import fit
from .quantity import Meter
from .space import Space
from .trial_queue import Outcome

__all__ = ["Evaluation", "shortened"]

_MARGIN = {"latency_ms": 0.97, "size_kib": 0.95, "macs": 1.0}
"""Share of its target that a rehearsal may use: times have noise, and training changes how well weights pack."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evaluation:
    """Tries candidates.

    Attributes:
        space: of the search.
        prepared: with the dense network trained, the training images of a trial, and no checkpoints.
        teacher: of the dense network's training.
        meter: of the budget.
    """

    space: Space
    prepared: Prepared
    teacher: nn.Module | None
    meter: Meter

    def __call__(self, number: int, values: Mapping[str, Any]) -> Outcome:
        """Try the candidate of some values."""
        budget, scale = self.space.budget, 0.0
        try:
            scale, quantity = self._fitted(values)
            if quantity > budget.limit:
                return Outcome(
                    number=number,
                    values=values,
                    scale=scale,
                    quantity=quantity,
                    excess=quantity / budget.limit - 1,
                    reason="over the budget",
                )
            recipe = shortened(self.space.recipe_of(values, scale), self.space.recipe)
            hardened = harden(recipe, self.prepared, self.teacher)
            quantity = self.meter.of(recipe, hardened)
            clean, robust = held_out_accuracy(
                hardened.network,
                self.prepared.data.heldout,
                recipe.opponent,
                seed=recipe.seed,
                batch_size=recipe.finetune_twin.batch_size,
            )
        except (CompressionError, ModelError) as error:  # a layer too small for its bits, a training that diverged
            return Outcome(
                number=number, values=values, scale=scale, quantity=budget.limit, excess=1.0, reason=error.what
            )
        excess = max(quantity / budget.limit - 1, 0.0)
        return Outcome(
            number=number,
            values=values,
            scale=scale,
            quantity=quantity,
            clean=clean,
            robust=robust,
            excess=excess,
            reason="over the budget after training" if excess else "",
        )

    def _fitted(self, values: Mapping[str, Any]) -> tuple[float, float]:
        """The scale of a candidate and its quantity, by rehearsals; the smallest where its target is out of reach."""

        def quantity(scale: float) -> float:
            return self.meter.rehearsed(self.space.recipe_of(values, scale), self.prepared)

        largest = self.space.largest_scale(values)
        goal = values["target"] * self.space.budget.limit * _MARGIN[self.space.budget.key]
        return fit(quantity, goal, largest=largest) or (largest, quantity(largest))


def shortened(recipe: Recipe, of: Recipe) -> Recipe:
    """A candidate's recipe with the shorter fine-tuning that the section `search` of `of` asks for."""
    if of.search.epochs is None:
        return recipe
    return recipe.model_copy(update={"finetune": recipe.finetune.model_copy(update={"epochs": of.search.epochs})})
