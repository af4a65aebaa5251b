"""Finds the layers of a network that a search may compress, and how little each method can leave of them."""

from __future__ import annotations

import copy

from ...export.quantization.widths import LayerBits
from ...runtime.errors import CompressionError
from ..compress.compressed import LayerReport
from ..compress.context import Context
from ..compress.factorization.factorize import least_shares
from ..compress.pruning.coupling import trace
from ..pipeline.stages import Prepared, rehearse
from ..recipe.factorization import Factorization
from ..recipe.filter_pruning import FilterPruning
from ..recipe.recipe import Recipe
from ..recipe.search_space import SearchedMethod
from ..recipe.weight_pruning import WeightPruning
from .budget import Budget
from .space import Knob, Space, searched_methods

__all__ = ["find_space"]

_TRIED = 0.5
"""A sparsity at which the layers that cannot be pruned show."""


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
    layers = tuple(name for name, layer in prepared.source.module.named_modules() if hasattr(layer, "weight"))
    return Space(
        recipe=recipe,
        budget=budget,
        knobs=tuple(Knob(name=name, floors=floors[name]) for name in layers if name in floors),
        layers=tuple(row.name for row in _rows(recipe, prepared)),
        inner=tuple(layer.name for layer in bits[1:-1]),
    )
