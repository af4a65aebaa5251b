"""GELU's chain of Erf becomes one operator.

    x (1 + erf(x / sqrt 2)) / 2 = Gelu(x)        Hendrycks and Gimpel 2016, equation 2; ONNX Gelu, opset 20

ONNX Runtime fuses the chain of a float graph itself, but not behind a DequantizeLinear: there each reader gets one of
its own, and the chain does not begin in one tensor any more. Opsets 19 and 20 add types and attributes to the operators
of 18, and change none of their results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import onnx_ir as ir

from .node_pass import NodePass
from .values import constant, only_consumer, replace_by_chain

__all__ = ["FuseGelu"]

_OPSET = 20


class _Chain(NamedTuple):
    """What GELU is of, and the last node of the chain."""

    x: ir.Value
    last: ir.Node


class FuseGelu(NodePass[_Chain]):
    """Each chain Div or Mul, Erf, Add, Mul, Mul that is GELU becomes Gelu, and the graph one of opset 20."""

    def match(self, node: ir.Node) -> _Chain | None:
        """x and the product of x, 1/2 and 1 + erf(x / sqrt 2), in any order; nothing else may read between."""
        if node.op_type != "Erf" or node.inputs[0] is None:
            return None
        x = _times(node.inputs[0], 1 / math.sqrt(2))
        last = only_consumer(node.outputs[0])
        if x is None or last is None or last.op_type != "Add" or not _is(_other(last, node.outputs[0]), 1):
            return None
        left = {"x", "half"}
        while left:
            product, last = last.outputs[0], only_consumer(last.outputs[0])
            if last is None or last.op_type != "Mul":
                return None
            found = _factors(_other(last, product), x)
            if not found or not found <= left:
                return None
            left -= found
        return _Chain(x, last)

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: _Chain) -> None:
        read = list(found.last.inputs)
        replace_by_chain(found.last, [ir.node("Gelu", [found.x])])
        _remove_unused(graph, read)
        graph.opset_imports[""] = max(graph.opset_imports.get("", _OPSET), _OPSET)


def _remove_unused(graph: ir.Graph, values: Sequence[ir.Value | None]) -> None:
    """Take out what made these values, as far as nothing reads it any more."""
    for value in values:
        node = None if value is None else value.producer()
        if node is not None and value is not None and not value.uses() and not value.is_graph_output():
            read = list(node.inputs)
            graph.remove(node, safe=True)
            _remove_unused(graph, read)


def _factors(value: ir.Value | None, x: ir.Value) -> set[str]:
    """Which of x and 1/2 `value` is, or is the product of; empty where it is something else."""
    if value is x:
        return {"x"}
    return {"half"} if _is(value, 0.5) else {"x", "half"} if _times(value, 0.5) is x else set()


def _other(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """The other operand."""
    left, right = node.inputs
    return right if left is value else left


def _is(value: ir.Value | None, number: float) -> bool:
    array = constant(value)
    return array is not None and array.size == 1 and math.isclose(array.item(), number, rel_tol=1e-6)


def _times(value: ir.Value | None, number: float) -> ir.Value | None:
    """x where `value` is number x or x / (1 / number); else None."""
    node = None if value is None else value.producer()
    if node is None or node.op_type not in ("Div", "Mul"):
        return None
    left, right = node.inputs
    if node.op_type == "Div":
        return left if _is(right, 1 / number) else None
    return left if _is(right, number) else right if _is(left, number) else None
