"""One account of compression steps that followed one another.

Sizes before are those before the first step, sizes after those behind the last, and a layer has a reason only if every
step left it alone. A layer that became factors is still one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...runtime.errors import CompressionError
from .compressed import Compressed, LayerReport
from .cost import LayerCost

__all__ = ["joined", "row"]


def row(
    name: str, cost: LayerCost, after: Mapping[str, LayerCost], *, reason: str = "", removed: tuple[int, ...] = ()
) -> LayerReport:
    """What one step did to one layer.

    Args:
        name, cost: the layer before.
        after: the network's layers after; where the layer became several, they are its submodules and are added up.
        reason: why it stayed as it was; "" if it did not.
        removed: its channels that went.
    """
    parts = [found for path, found in after.items() if path == name or (not reason and path.startswith(f"{name}."))]
    return LayerReport(
        name=name,
        kind=cost.kind,
        channels_before=cost.channels,
        channels_after=cost.channels - len(removed),
        parameters_before=cost.parameters,
        parameters_after=sum(part.parameters for part in parts),
        macs_before=cost.macs,
        macs_after=sum(part.macs for part in parts),
        reason=reason,
        removed=removed,
    )


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
    for layer in later:
        name = layer.name
        while name not in found and "." in name:
            name = name.rpartition(".")[0]
        if name not in found:
            return None
        found[name].append(layer)
    return found if all(found.values()) else None


def _both(first: LayerReport, parts: Sequence[LayerReport]) -> LayerReport:
    """A layer before the first step and after the second, which may have seen it as factors; the last of them has its
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
