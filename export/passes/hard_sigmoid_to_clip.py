"""A HardSigmoid behind a layer becomes a Clip, whose scale and offset that layer takes.

    HardSigmoid(W x + b) = clip(a (W x + b) + c, 0, 1)        ONNX HardSigmoid: alpha = a, beta = c

Squeeze-and-excitation has it behind a convolution. The ends of the 8-bit grid then make the Clip, and no float operator
is left. Within h-swish the layer is read twice, and nothing changes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .node_pass import NodePass
from .values import add_initializer, attribute, only_consumer, replace_by_chain

__all__ = ["HardSigmoidToClip"]

_ALPHA, _BETA = 0.2, 0.5
"""ONNX's, where a node has none of its own."""


class HardSigmoidToClip(NodePass[ir.Value]):
    """HardSigmoid that alone reads a Conv or a Gemm becomes Mul, Add, Clip."""

    def match(self, node: ir.Node) -> ir.Value | None:
        """What the layer gives."""
        x = node.inputs[0] if node.op_type == "HardSigmoid" else None
        layer = None if x is None else x.producer()
        if x is None or layer is None or layer.op_type not in ("Conv", "Gemm") or only_consumer(x) is not node:
            return None
        return x

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: ir.Value) -> None:
        name = node.outputs[0].name

        def number(label: str, value: float) -> ir.Value:
            return add_initializer(graph, f"{name}.{label}", np.array(value, np.float32))

        scaled = ir.node("Mul", [found, number("alpha", attribute(node, "alpha", _ALPHA))])
        moved = ir.node("Add", [scaled.outputs[0], number("beta", attribute(node, "beta", _BETA))])
        for step in (scaled, moved):
            step.outputs[0].shape, step.outputs[0].type = found.shape, found.type
        clip = ir.node("Clip", [moved.outputs[0], number("lowest", 0), number("highest", 1)])
        replace_by_chain(node, [scaled, moved, clip])
