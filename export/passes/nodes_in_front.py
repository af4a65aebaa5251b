"""Nodes put in front of another, one behind the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from .values import add_initializer

__all__ = ["Chain"]


class Chain:
    """Puts nodes in front of one node of a graph.

    Args:
        graph: it is changed in place.
        node: the one that they stand before; results and constants are named after its result.
    """

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self._graph, self._node = graph, node
        self._name = node.outputs[0].name or "value"
        self._labels = Counter[str]()

    def constant(self, label: str, array: Any, dtype: Any = np.float32) -> ir.Value:
        """A new initializer."""
        return add_initializer(self._graph, self._unique(label), np.asarray(array, dtype))

    def __call__(self, operator: str, *inputs: ir.Value | None, label: str, **attributes: Any) -> ir.Value:
        """The float32 result of a new node."""
        node = ir.node(operator, list(inputs), attributes)
        self._graph.insert_before(self._node, node)
        result = node.outputs[0]
        result.name, result.type = self._unique(label), ir.TensorType(ir.DataType.FLOAT)
        return result

    def like(self, node: ir.Node, *inputs: ir.Value | None) -> ir.Value:
        """The result of a new node with the operator, attributes and type of `node`, and its name."""
        again = ir.node(node.op_type, list(inputs), {key: a.value for key, a in node.attributes.items()})
        self._graph.insert_before(self._node, again)
        old, result = node.outputs[0], again.outputs[0]
        result.name, result.type = self._unique("quantized"), old.type
        return result

    def reshaped(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        """`value` in another shape, of the same type."""
        node = ir.node("Reshape", [value, self.constant("shape", shape, np.int64)])
        self._graph.insert_before(self._node, node)
        result = node.outputs[0]
        result.name, result.type = self._unique("rows"), value.type
        return result

    def _unique(self, label: str) -> str:
        self._labels[label] += 1
        again = self._labels[label] - 1
        return f"{self._name}.{label}" + (f"_{again}" if again else "")
