"""Sizes of a Reshape that are computed at run time, as constants where all but the batch are known.

    Reshape(x, Concat(Shape(x)[:2], [T], [d])) = Reshape(x, [-1, heads, T, d])

Attention is exported with them. Nothing but the batch is then read from a tensor, and no node but those that make
numbers is left among the integers.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .node_pass import NodePass
from .values import add_initializer, constant

__all__ = ["KnownSizes"]


class KnownSizes(NodePass[list[int]]):
    """Reshape to sizes that shape inference knows, one at most left open."""

    def match(self, node: ir.Node) -> list[int] | None:
        """The sizes."""
        shape = node.outputs[0].shape
        if node.op_type != "Reshape" or constant(node.inputs[1]) is not None or shape is None:
            return None
        sizes = [size if isinstance(size, int) else -1 for size in shape.dims]
        return None if sizes.count(-1) > 1 or 0 in sizes else sizes

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: list[int]) -> None:
        sizes = add_initializer(graph, f"{node.outputs[0].name}.sizes", np.array(found, np.int64))
        node.replace_input_with(1, sizes)
