"""Softmax and LayerNormalization: what is divided by a sum over axes.

No engine but ONNX Runtime has integer kernels of these (QLinearSoftmax), and it adds in float32 inside, in an order of
its own. They stay float, in operations that every engine rounds alike (`exact_softmax.py`, `exact_normalization.py`).
Probabilities have steps of 1/256.
"""

from __future__ import annotations

import onnx_ir as ir

from ...passes.values import constant, only_consumer
from .row import Row

__all__ = ["NORMALIZATIONS", "PROBABILITY_STEP"]

PROBABILITY_STEP = 2.0**-8
"""Largest probability: 255 of these."""

_LAST, _COMPUTED = "as the last operator", "with computed weights"
_ROWS = ("Flatten", "Identity", "Reshape", "Squeeze")


def _last(node: ir.Node) -> str:
    """Of what the graph gives nothing is rounded."""
    result = node.outputs[0]
    while (reader := only_consumer(result)) is not None and reader.op_type in _ROWS:
        result = reader.outputs[0]
    return f" {_LAST}" if result.is_graph_output() else ""


def _last_or_computed(node: ir.Node) -> str:
    is_computed = any(value is not None and constant(value) is None for value in node.inputs[1:])
    return f" {_COMPUTED}" if is_computed else _last(node)


NORMALIZATIONS = (
    Row(operator="Softmax", handling="rounded", obstacle=_last, except_for=_LAST),
    Row(
        operator="LayerNormalization",
        handling="rounded",
        obstacle=_last_or_computed,
        except_for=f"{_LAST}, {_COMPUTED}",
    ),
)
