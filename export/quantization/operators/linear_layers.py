"""Convolutions and linear layers: int8 weights, int32 sums, one multiplier a channel."""

from __future__ import annotations

import onnx_ir as ir

from ...passes.values import constant
from .row import Row

__all__ = ["LINEAR_LAYERS"]

_COMPUTED = "with computed weights"


def _obstacle(node: ir.Node) -> str:
    computed = any(value is not None and constant(value) is None for value in node.inputs[1:])
    return f" {_COMPUTED}" if computed else ""


LINEAR_LAYERS = tuple(
    Row(operator=name, handling="requantized", kernel=kernel, obstacle=_obstacle, except_for=_COMPUTED, refused=True)
    for name, kernel in (("Conv", "QLinearConv"), ("Gemm", "QGemm"))
)
