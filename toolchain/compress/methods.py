"""The compression methods by name.

A method is a function `(module, settings, context) -> Compressed`, or, on the integer graph, `(graph, settings) ->
CompressedIntegers`. To add one: its settings in `recipe/` (with `on_integers` for the second kind) and in the table
`STEPS` of `recipe/compression_methods.py`, its code in a folder beside this file, and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from ...export.quantization.quantize import IntegerGraph
from ..recipe.atmc_settings import Atmc
from ..recipe.compression_base import CompressionStep
from ..recipe.factorization import Factorization
from ..recipe.filter_pruning import FilterPruning
from ..recipe.weight_pruning import WeightPruning
from ..recipe.weight_sharing import WeightSharing
from .atmc.atmc import atmc
from .compressed import Compressed
from .compressed_integers import CompressedIntegers
from .context import Context
from .factorization.factorize import factorize
from .pruning.filters import prune_filters
from .pruning.zero_weights import prune_weights
from .sharing.share import share_weights

__all__ = ["INTEGER_METHODS", "METHODS", "IntegerMethod", "Method"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """One compression method on the network.

    Attributes:
        settings: the type of its settings in a recipe.
        compress: makes a new module of the one that it is given, which it leaves as it is; see `Compressed` for what it
            reports.
    """

    settings: type[CompressionStep]
    compress: Callable[[nn.Module, Any, Context], Compressed]


@dataclass(frozen=True, kw_only=True, slots=True)
class IntegerMethod:
    """One compression method on the integer graph.

    Attributes:
        settings: the type of its settings in a recipe.
        compress: makes a new graph of the one that it is given, which it leaves as it is. A build calls it twice: on
            the untrained network, so that settings which do not fit are found before any training, and in its place.
    """

    settings: type[CompressionStep]
    compress: Callable[[IntegerGraph, Any], CompressedIntegers]


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "filters": Method(settings=FilterPruning, compress=prune_filters),
        "atmc": Method(settings=Atmc, compress=atmc),
        "weights": Method(settings=WeightPruning, compress=prune_weights),
        "factorize": Method(settings=Factorization, compress=factorize),
    }
)
"""The methods on the network, by the name that a recipe's step gives in `method`."""

INTEGER_METHODS: Mapping[str, IntegerMethod] = MappingProxyType(
    {
        "sharing": IntegerMethod(settings=WeightSharing, compress=share_weights),
    }
)
"""The methods on the integer graph, by the same name."""
