"""One account of compression steps that followed one another.

Sizes before are those before the first step, sizes after those behind the last, and a layer has a reason only if every
step left it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...runtime.errors import CompressionError
from .compressed import Compressed, LayerReport

__all__ = ["joined"]


def joined(reports: Sequence[Compressed]) -> Compressed:
    """One account of steps that followed one another.

    Args:
        reports: 1 or more; each names the same layers.

    Raises:
        CompressionError: a step reports other layers than the step before it.
    """
    layers = reports[0].layers
    for number, report in enumerate(reports[1:], start=2):
        later = {layer.name: layer for layer in report.layers}
        if later.keys() != {layer.name for layer in layers}:
            raise CompressionError(
                f"step {number} of [[compress]], {report.steps[-1].method}, reports other layers than the step before",
                expected=", ".join(layer.name for layer in layers),
                got=", ".join(later),
            )
        layers = tuple(_both(layer, later[layer.name]) for layer in layers)
    steps = tuple(step for report in reports for step in report.steps)
    return Compressed(module=reports[-1].module, layers=layers, steps=steps)


def _both(first: LayerReport, second: LayerReport) -> LayerReport:
    """A layer before the first step and after the second."""
    left = [channel for channel in range(first.channels_before) if channel not in set(first.removed)]
    reasons = dict.fromkeys((first.reason, second.reason))
    return replace(
        first,
        channels_after=second.channels_after,
        parameters_after=second.parameters_after,
        macs_after=second.macs_after,
        reason="" if "" in reasons else "; ".join(reasons),
        removed=tuple(sorted({*first.removed, *(left[channel] for channel in second.removed)})),
    )
