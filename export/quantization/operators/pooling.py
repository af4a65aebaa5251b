"""Average pools, which round anew, and maxima, which are among the numbers that they are of."""

from __future__ import annotations

import onnx_ir as ir

from ...passes.values import attribute
from .row import Row

__all__ = ["POOLING"]

_OVERHANG = "whose last windows overhang (ceil_mode) while its padding counts"
_MAXIMA = ("MaxPool", "ReduceMax", "ReduceMin")


def _obstacle(node: ir.Node) -> str:
    """ONNX Runtime's integer kernel divides by another number in windows that overhang."""
    return f" {_OVERHANG}" if attribute(node, "ceil_mode", 0) else ""


POOLING = (
    Row(
        operator="AveragePool",
        handling="requantized",
        kernel="QLinearAveragePool",
        obstacle=_obstacle,
        except_for=_OVERHANG,
        refused=True,
    ),
    Row(operator="GlobalAveragePool", handling="requantized", kernel="QLinearGlobalAveragePool"),
    *(Row(operator=name, handling="moved", kernel=f"{name} of integers") for name in _MAXIMA),
)
