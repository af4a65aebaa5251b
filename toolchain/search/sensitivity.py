"""How much each layer's compression alone costs, without fine-tuning, on held-out images.

    drop = mean over kept shares of  (clean + robust)(dense) - (clean + robust)(compressed)

Robust accuracy alone would say nothing of a dense network that was trained on clean images: it has none to lose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from ..pipeline.stages import Prepared, rehearse
from ..train.heldout import held_out_accuracy
from .space import Space

__all__ = ["LayerSensitivity", "first_values", "layer_sensitivity"]

_SHARES = (0.75, 0.5, 0.25)
_IMAGES = 512
_LEAST = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerSensitivity:
    """Accuracies with one layer compressed, in [0, 1].

    Attributes:
        layer: its name; "" for the dense network.
        method: what compressed it.
        kept: share of the layer that is left.
        clean: accuracy on held-out images.
        robust: under PGD-10; None in a standard recipe.
    """

    layer: str
    method: str
    kept: float
    clean: float
    robust: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def layer_sensitivity(space: Space, prepared: Prepared) -> tuple[LayerSensitivity, ...]:
    """The dense network, then each layer at each share that its first method can leave.

    Args:
        space: of the search.
        prepared: with the dense network trained.
    """
    recipe, progress = space.recipe, prepared.training.progress
    part = prepared.data.heldout.at_most(_IMAGES, seed=recipe.seed)

    def measured(module: nn.Module) -> tuple[float, float | None]:
        batch = recipe.finetune.batch_size
        return held_out_accuracy(module, part, recipe.opponent, seed=recipe.seed, batch_size=batch)

    clean, robust = measured(prepared.source.module)
    rows = [LayerSensitivity(layer="", method="", kept=1.0, clean=clean, robust=robust)]
    for number, knob in enumerate(space.knobs, start=1):
        method = next(iter(knob.floors))
        alone = replace(space, knobs=(replace(knob, floors={method: knob.floors[method]}),))
        for share in sorted({max(share, knob.floors[method]) for share in _SHARES}, reverse=True):
            values = {f"rate {knob.name}": 1.0}
            made = alone.recipe_of(values, math.log(1 / share))
            one = made.model_copy(update={"compress": made.compress[:1]})  # without the steps that are not searched
            clean, robust = measured(rehearse(one, prepared).module)
            rows.append(LayerSensitivity(layer=knob.name, method=method, kept=share, clean=clean, robust=robust))
        progress("layer sensitivity", number, len(space.knobs), knob.name)
    return tuple(rows)


def first_values(space: Space, rows: Sequence[LayerSensitivity], targets: Sequence[float]) -> list[dict[str, Any]]:
    """Candidates to begin with: all layers alike, and each layer by what it bears, at every target.

    Args:
        space: of the search.
        rows: of `layer_sensitivity`.
        targets: shares of the budget.
    """
    drops = _drops(rows)
    most, least = max(drops.values()), min(drops.values())
    by_drop = {name: 1 - (1 - _LEAST) * (drop - least) / ((most - least) or 1.0) for name, drop in drops.items()}
    by_layer = {f"rate {name}": rate for name, rate in by_drop.items()}
    return [{"target": target, **space.first, **rates} for target in targets for rates in ({}, by_layer)]


def _drops(rows: Sequence[LayerSensitivity]) -> Mapping[str, float]:
    dense, *others = rows
    drops: dict[str, list[float]] = {}
    for row in others:
        drops.setdefault(row.layer, []).append(_both(dense) - _both(row))
    return {name: sum(found) / len(found) for name, found in drops.items()}


def _both(row: LayerSensitivity) -> float:
    return row.clean + (row.robust or 0.0)
