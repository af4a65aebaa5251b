"""Functions of one tensor, number by number: of 8 bits, tables of 256 entries.

Two of them are tables inside ONNX Runtime too, and a ReLU or Clip of integers is one of integers. The others are
evaluated in float between DequantizeLinear and QuantizeLinear, alone or with their neighbours
(`passes/elementwise.py`): 256 possible numbers, whose distance to the next tie is known (`ties.py`).
"""

from __future__ import annotations

import onnx_ir as ir

from ...passes.elementwise import AFFINE, CLAMPS, ELEMENTWISE
from ...passes.values import constant
from .row import Row

__all__ = ["FUNCTIONS"]

_COMPUTED = "with computed bounds"
_INTEGER = {"LeakyRelu": "QLinearLeakyRelu", "Sigmoid": "QLinearSigmoid"}


def _obstacle(node: ir.Node) -> str:
    computed = any(value is not None and constant(value) is None for value in node.inputs[1:])
    return f" {_COMPUTED}" if computed else ""


FUNCTIONS = (
    *(Row(operator=name, handling="requantized", kernel=kernel) for name, kernel in _INTEGER.items()),
    *(
        Row(operator=name, handling="stored", kernel="Clip of integers", obstacle=_obstacle, except_for=_COMPUTED)
        for name in sorted(CLAMPS)
    ),
    *(
        Row(operator=name, handling="float")
        for name in sorted(ELEMENTWISE - CLAMPS - _INTEGER.keys() - (AFFINE - {"Div", "Neg", "Sub"}))
    ),
)
