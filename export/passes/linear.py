"""Linear layers as Gemm, and reshapes to [N, features] as Flatten: the two forms that every integer backend fuses."""

from __future__ import annotations

import onnx_ir as ir

from .values import constant, replace_by_chain

__all__ = ["MatMulToGemm", "ReshapeToFlatten"]


class ReshapeToFlatten(ir.passes.InPlacePass):
    """Reshape of [N, ...] to [N, features] becomes Flatten(axis=1), whatever way N was written."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if node.op_type not in ("Reshape", "Squeeze"):
                continue
            x, y = node.inputs[0], node.outputs[0]
            if x is None or x.shape is None or y.shape is None or len(y.shape) != 2 or len(x.shape) < 3:
                continue
            if x.shape[0] != y.shape[0]:
                continue
            replace_by_chain(node, [ir.node("Flatten", [x], {"axis": 1})])
            modified = True
        return ir.passes.PassResult(model, modified)


class MatMulToGemm(ir.passes.InPlacePass):
    """MatMul of [N, K] with a constant [K, M] becomes Gemm."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if node.op_type != "MatMul":
                continue
            x, weight = node.inputs[0], constant(node.inputs[1])
            if x is None or weight is None or weight.ndim != 2 or x.shape is None or len(x.shape) != 2:
                continue
            replace_by_chain(node, [ir.node("Gemm", [x, node.inputs[1]])])
            modified = True
        return ir.passes.PassResult(model, modified)
