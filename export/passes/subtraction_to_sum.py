"""A difference of two tensors is a sum, for which there is an integer kernel.

    a - b = a + (-1) b        -b = (-1) b

The factor is an affine map of each channel: where a layer alone makes b, it goes into that layer's weights.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .elementwise import functions, variables
from .node_pass import NodePass
from .values import add_initializer, replace_by_chain

__all__ = ["SubtractionToSum"]


class SubtractionToSum(NodePass[ir.Value]):
    """Sub of two tensors becomes Mul and Add, Neg becomes Mul; not within a function of one tensor."""

    def prepare(self, graph: ir.Graph) -> None:
        self._functions = functions(graph)

    def match(self, node: ir.Node) -> ir.Value | None:
        """What is subtracted."""
        is_difference = node.op_type == "Sub" and len(variables(node)) == 2
        subtracted = node.inputs[-1] if is_difference or node.op_type == "Neg" else None
        is_real = subtracted is not None and subtracted.dtype == ir.DataType.FLOAT
        return subtracted if is_real and node not in self._functions else None

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: ir.Value) -> None:
        minus = add_initializer(graph, f"{node.outputs[0].name}.minus", np.array(-1, np.float32))
        chain = [ir.node("Mul", [found, minus])]
        chain[0].outputs[0].shape, chain[0].outputs[0].type = found.shape, found.type
        if node.op_type == "Sub":
            chain.append(ir.node("Add", [node.inputs[0], chain[0].outputs[0]]))
        replace_by_chain(node, chain)
