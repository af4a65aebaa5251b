"""A recipe's compression steps, carried out in order, with one account of all of them.

    dense network -> step 1 -> step 2 -> ... -> compressed network

The account joins the steps' reports layer by layer: sizes before are the dense network's, sizes after are those behind
the last step, and a layer has a reason only if every step left it alone. A layer that became factors is still one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from ...runtime.errors import CompressionError
from ..recipe.compression_base import CompressionStep
from .compressed import Compressed, LayerReport
from .context import Context
from .cost import costs
from .methods import METHODS

__all__ = ["compress", "joined"]


def compress(module: nn.Module, steps: Sequence[CompressionStep], context: Context) -> Compressed:
    """Carry out `steps`, each on what the one before it made; without a step the network stays as it is.

    Args:
        module: float [N, C, H, W] in [0, 1] -> logits [N, K]; left as it is.
        steps: of a recipe.
        context: what the methods may use.

    Raises:
        CompressionError: a step cannot be carried out.
    """
    if not steps:
        return _unchanged(module, context)
    reports: list[Compressed] = []
    for step in steps:
        given = reports[-1].module if reports else module
        reports.append(METHODS[step.method].compress(given, step, context))
    return joined(reports)


def joined(reports: Sequence[Compressed]) -> Compressed:
    """One account of steps that followed one another.

    Args:
        reports: 1 or more; each names the layers of the one before, or the factors of a layer as its submodules.

    Raises:
        CompressionError: a step reports other layers than the step before it.
    """
    layers = reports[0].layers
    for number, report in enumerate(reports[1:], start=2):
        parts = _by_layer(report.layers, [layer.name for layer in layers])
        if parts is None:
            raise CompressionError(
                f"step {number} of [[compress]], {report.steps[-1].method}, reports other layers than the step before",
                expected=", ".join(layer.name for layer in layers),
                got=", ".join(layer.name for layer in report.layers),
            )
        layers = tuple(_both(layer, parts[layer.name]) for layer in layers)
    steps = tuple(step for report in reports for step in report.steps)
    return Compressed(module=reports[-1].module, layers=layers, steps=steps)


def _by_layer(later: Sequence[LayerReport], names: Sequence[str]) -> dict[str, list[LayerReport]] | None:
    """A later step's rows by the layer that they are about: itself, or the factors that an earlier step made of it,
    which are its submodules. None unless every layer has a row and every row a layer."""
    found: dict[str, list[LayerReport]] = {name: [] for name in names}
    for row in later:
        name = row.name
        while name not in found and "." in name:
            name = name.rpartition(".")[0]
        if name not in found:
            return None
        found[name].append(row)
    return found if all(found.values()) else None


def _both(first: LayerReport, parts: Sequence[LayerReport]) -> LayerReport:
    """A layer before the first step and after the second, which may have seen it as factors; the last gives its
    channels."""
    left = [channel for channel in range(first.channels_before) if channel not in set(first.removed)]
    reasons = dict.fromkeys((first.reason, *(part.reason for part in parts)))
    last = parts[-1]
    return replace(
        first,
        channels_after=first.channels_after + last.channels_after - last.channels_before,
        parameters_after=sum(part.parameters_after for part in parts),
        macs_after=sum(part.macs_after for part in parts),
        reason="" if "" in reasons else "; ".join(reasons),
        removed=tuple(sorted({*first.removed, *(left[channel] for channel in last.removed)})),
    )


def _unchanged(module: nn.Module, context: Context) -> Compressed:
    layers = tuple(
        LayerReport(
            name=name,
            kind=cost.kind,
            channels_before=cost.channels,
            channels_after=cost.channels,
            parameters_before=cost.parameters,
            parameters_after=cost.parameters,
            macs_before=cost.macs,
            macs_after=cost.macs,
            reason="the recipe has no compression step",
        )
        for name, cost in costs(module, input_shape=context.input_shape).items()
    )
    return Compressed(module=copy.deepcopy(module), layers=layers, steps=())
