"""Finds the layers of a network that a search may compress, and how little each method can leave of them."""

from __future__ import annotations

import copy
from typing import TypeVar

from ...export.quantization.widths import LayerBits
from ...runtime.errors import CompressionError
from ..compress.compressed import LayerReport
from ..compress.context import Context
from ..compress.cost import costs, weighted_kinds
from ..compress.factorization.factorize import least_shares
from ..compress.pruning.coupling import trace
from ..pipeline.stages import Prepared, rehearse
from ..recipe.compression_base import CompressionStep
from ..recipe.factorization import Factorization
from ..recipe.filter_pruning import FilterPruning
from ..recipe.recipe import Recipe
from ..recipe.search_space import SearchedMethod
from ..recipe.weight_pruning import WeightPruning
from .budget import Budget
from .space import Knob, Space, searched_methods

__all__ = ["find_space"]

Step = TypeVar("Step", bound=CompressionStep)

_UNIFORM = {"sparsity": 0.5, "per_layer": {}, "scope": "layer", "rounds": 1}
"""Shows which layers cannot be pruned."""


def find_space(recipe: Recipe, budget: Budget, prepared: Prepared, bits: tuple[LayerBits, ...]) -> Space:
    """The space of a recipe on its network, before any training.

    Args:
        recipe: with its section `search`.
        budget: of the search.
        prepared: the recipe's network and data.
        bits: of the dense integer graph; the first layer and the last keep theirs.

    Raises:
        CompressionError: no layer can be compressed.
    """
    finders = {"factorize": _factorized, "filters": _filters, "weights": _weights}
    floors: dict[str, dict[SearchedMethod, float]] = {}
    why = None
    for method in searched_methods(recipe):
        try:
            found = finders[method](recipe, prepared)
        except CompressionError as error:
            why, found = error, {}
        for name, least in found.items():
            floor = max(least, 1 - recipe.search.largest_sparsity)
            if floor < 1:
                floors.setdefault(name, {})[method] = floor
    if not floors:
        raise why or CompressionError(
            "no layer of this network can be compressed",
            got=", ".join(searched_methods(recipe)),
            fix="another search.methods, or a larger search.largest_sparsity",
        )
    whole = costs(prepared.source.module, input_shape=prepared.source.input_shape)
    return Space(
        recipe=recipe,
        budget=budget,
        knobs=tuple(Knob(name=name, floors=floors[name]) for name in whole if name in floors),
        layers=tuple(weighted_kinds(whole)),
        inner=tuple(layer.name for layer in bits[1:-1]),
    )


def _filters(recipe: Recipe, prepared: Prepared) -> dict[str, float]:
    """By the first layer of each group of tied ones: all but one of its filters can go."""
    step = _template(recipe, FilterPruning())
    rows = _tried(step.model_copy(update=_UNIFORM | {"round_to": 1}), recipe, prepared)
    pruned = {row.name for row in rows if row.removed and row.kind != "norm"}
    groups = trace(copy.deepcopy(prepared.source.module), input_shape=prepared.source.input_shape).groups
    found = {}
    for group in groups:
        first = next((name for name in group.layers if name in pruned), None)
        if first is not None:
            found[first] = 1 / len(group.units)
    return found


def _weights(recipe: Recipe, prepared: Prepared) -> dict[str, float]:
    """All but one of a layer's weights can go."""
    step = _template(recipe, WeightPruning())
    rows = _tried(step.model_copy(update=_UNIFORM | {"pattern": ""}), recipe, prepared)
    return {row.name: 1 / row.weights for row in rows if row.weights and not row.reason}


def _factorized(recipe: Recipe, prepared: Prepared) -> dict[str, float]:
    """Rank 1 is the least."""
    shape = prepared.source.input_shape
    return least_shares(prepared.source.module, _template(recipe, Factorization()), Context(input_shape=shape))


def _template(recipe: Recipe, default: Step) -> Step:
    """The recipe's own step of a method."""
    return next((step for step in recipe.compress if isinstance(step, type(default))), default)


def _tried(step: CompressionStep, recipe: Recipe, prepared: Prepared) -> tuple[LayerReport, ...]:
    return rehearse(recipe.model_copy(update={"compress": (step,)}), prepared).layers
