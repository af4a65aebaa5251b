"""A recipe's compression steps, carried out in order, with one account of all of them.

    dense network -> step 1 -> step 2 -> ... -> compressed network

`account.py` joins the steps' reports layer by layer. How many weights are zero is counted in the end.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from ..recipe.compression_base import CompressionStep
from .account import joined, row
from .compressed import Compressed, LayerReport
from .context import Context
from .cost import costs, is_weighted
from .methods import METHODS

__all__ = ["compress"]


def compress(module: nn.Module, steps: Sequence[CompressionStep], context: Context) -> Compressed:
    """Carry out `steps`, each on what the one before it made; without a step the network stays as it is.

    Args:
        module: float [N, C, H, W] in [0, 1] -> logits [N, K]; left as it is.
        steps: of a recipe, those on the network.
        context: what the methods may use.

    Raises:
        CompressionError: a step cannot be carried out.
    """
    if not steps:
        return _unchanged(module, context)
    reports: list[Compressed] = []
    for number, step in enumerate(steps, start=1):
        given = reports[-1].module if reports else module
        reports.append(METHODS[step.method].compress(given, step, replace(context, step=number)))
    whole = joined(reports)
    return replace(whole, layers=tuple(_counted(whole.module, layer) for layer in whole.layers))


def _counted(module: nn.Module, layer: LayerReport) -> LayerReport:
    if not is_weighted(layer.kind):
        return layer
    weights = [weight for weight in module.get_submodule(layer.name).parameters() if weight.ndim > 1]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return replace(layer, weights=sum(weight.numel() for weight in weights), zeros=zeros)


def _unchanged(module: nn.Module, context: Context) -> Compressed:
    found = costs(module, input_shape=context.input_shape)
    layers = tuple(
        row(name, cost, found, reason="the recipe has no compression step on the network")
        for name, cost in found.items()
    )
    return Compressed(module=copy.deepcopy(module), layers=layers, steps=())
