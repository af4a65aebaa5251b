"""Linear layers as Gemm, the form that every integer backend fuses.

MatMul(x, W) = Gemm(x, W) = 1 x W + 0 b      for x of shape [N, K] and a constant W of shape [K, M]
"""

from __future__ import annotations

import onnx_ir as ir

from .node_pass import NodePass, RefusedError
from .values import constant, replace_by_chain

__all__ = ["MatMulToGemm"]


class MatMulToGemm(NodePass[ir.Value]):
    """MatMul of [N, K] with a constant [K, M] becomes Gemm."""

    def match(self, node: ir.Node) -> ir.Value | None:
        """What is multiplied."""
        if node.op_type != "MatMul":
            return None
        x, weight = node.inputs[0], constant(node.inputs[1])
        if weight is None:
            raise RefusedError("its weights are computed")
        if x is None or x.shape is None or len(x.shape) != 2 or weight.ndim != 2:
            raise RefusedError("it does not multiply [N, K] with a matrix")
        return x

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: ir.Value) -> None:
        replace_by_chain(node, [ir.node("Gemm", [found, node.inputs[1]])])
