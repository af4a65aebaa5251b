"""The compression methods by name.

A method is a function `(module, settings, context) -> Compressed`. To add one: its settings in `recipe/` and in the
table `STEPS` of `recipe/compression_methods.py`, its code in a folder beside this file, and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from ..recipe.compression_base import CompressionStep
from ..recipe.filter_pruning import FilterPruning
from ..recipe.weight_pruning import WeightPruning
from .compressed import Compressed
from .context import Context
from .pruning.filters import prune_filters
from .pruning.zero_weights import prune_weights

__all__ = ["METHODS", "Method"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """One compression method.

    Attributes:
        settings: the type of its settings in a recipe.
        compress: makes a new module of the one that it is given, which it leaves as it is; see `Compressed` for what it
            reports.
    """

    settings: type[CompressionStep]
    compress: Callable[[nn.Module, Any, Context], Compressed]


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "filters": Method(settings=FilterPruning, compress=prune_filters),
        "weights": Method(settings=WeightPruning, compress=prune_weights),
    }
)
"""The methods by the name that a recipe's step gives in `method`."""
