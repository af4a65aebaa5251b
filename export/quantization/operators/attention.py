"""Attention: products of two computed tensors, queries with keys and probabilities with values, and Softmax between.

    y = round(s_a s_b / s_y * sum_k (q_a - z_a)(q_b - z_b)) + z_y     QLinearMatMul (core/providers/cpu/quantization)
    p = round(256 e(q_x) / sum_j e(q_xj)), at most 255                QLinearSoftmax (contrib_ops/cpu/quantization)

Sums of products are int32, so no two engines differ. A constant operand is stored on a grid of its own. Probabilities
have steps of 1/256. The sum over j is float32, and each engine adds in its own order: where a probability lies within
its error, 10^-6 of itself, of a tie, results differ by a step (about one of a million codes).
"""

from __future__ import annotations

import onnx_ir as ir

from ...passes.values import only_consumer
from .row import Row

__all__ = ["ATTENTION", "PROBABILITY_STEP"]

PROBABILITY_STEP = 2.0**-8
"""QLinearSoftmax divides by a whole number of steps to 1: of steps of 1/256 there are 256."""

_LAST = "as the last operator"
_ROWS = ("Flatten", "Identity", "Reshape", "Squeeze")


def _obstacle(node: ir.Node) -> str:
    """Of probabilities that the graph gives nothing is rounded."""
    result = node.outputs[0]
    while (reader := only_consumer(result)) is not None and reader.op_type in _ROWS:
        result = reader.outputs[0]
    return f" {_LAST}" if result.is_graph_output() else ""


ATTENTION = (
    Row(operator="MatMul", handling="requantized", kernel="QLinearMatMul"),
    Row(operator="Softmax", handling="requantized", kernel="QLinearSoftmax", obstacle=_obstacle, except_for=_LAST),
)
