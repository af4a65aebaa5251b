"""Linear layers as Gemm, the form that every integer backend fuses.

    MatMul(x, W) + b = Gemm(x, W, b)        for x [N, K], a constant W [K, M] and, where one alone follows, b [M]

A layer on the last axis of more, [N, T, K], [T, N, K] or [N, H, W, K], is one on the rows of [N T, K]: reshapes stand
around it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from .node_pass import NodePass, RefusedError
from .values import add_initializer, constant, only_consumer, replace_by_chain

__all__ = ["MatMulToGemm"]


class Linear(NamedTuple):
    """What is multiplied, its sizes before K (-1: the batch), and the Add of a bias behind with that bias."""

    x: ir.Value
    before: list[int]
    add: ir.Node | None
    bias: ir.Value | None


class MatMulToGemm(NodePass[Linear]):
    """MatMul of [N, ..., K], the batch on any axis before K, with a constant [K, M] becomes Gemm."""

    def match(self, node: ir.Node) -> Linear | None:
        """What the layer is made of."""
        if node.op_type != "MatMul":
            return None
        x, weight = node.inputs[0], constant(node.inputs[1])
        if weight is None:
            raise RefusedError("its weights are computed")
        if x is None or x.shape is None or len(x.shape) < 2 or weight.ndim != 2:
            raise RefusedError("it does not multiply [N, ..., K] with a matrix")
        before = [size if isinstance(size, int) else -1 for size in x.shape.dims[:-1]]
        if before.count(-1) > 1:
            raise RefusedError("of the sizes before K more than the batch is not known")
        add = only_consumer(node.outputs[0]) if len(before) > 1 else None
        others = [v for v in add.inputs if v is not node.outputs[0]] if add is not None and add.op_type == "Add" else []
        bias = constant(others[0]) if others else None
        if bias is None or bias.ndim == 0 or bias.shape[-1] != weight.shape[1] or bias.size != weight.shape[1]:
            return Linear(x, before, None, None)
        return Linear(x, before, add, others[0])

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: Linear) -> None:
        weight = node.inputs[1]
        if len(found.before) == 1:
            replace_by_chain(node, [ir.node("Gemm", [found.x, weight])])
            return
        name = node.outputs[0].name or "linear"
        assert weight is not None
        assert weight.const_value is not None
        sizes = weight.const_value.shape.numpy()
        rows = add_initializer(graph, f"{name}.rows", np.array([-1, sizes[0]], np.int64))
        back = add_initializer(graph, f"{name}.shape", np.array([*found.before, sizes[1]], np.int64))
        flat = ir.node("Reshape", [found.x, rows])
        inputs = [flat.outputs[0], weight]
        if found.bias is not None:
            row = np.asarray(constant(found.bias)).reshape(-1)
            inputs.append(add_initializer(graph, f"{name}.bias", row))
        layer = ir.node("Gemm", inputs)
        for made, width in ((flat, sizes[0]), (layer, sizes[1])):
            made.outputs[0].shape, made.outputs[0].type = ir.Shape([None, width]), found.x.type
        replace_by_chain(found.add or node, [flat, layer, ir.node("Reshape", [layer.outputs[0], back])])
        if found.add is not None:
            graph.remove(node, safe=True)
