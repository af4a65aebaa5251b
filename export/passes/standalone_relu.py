"""A ReLU that no convolution, linear layer or sum feeds alone gets an identity convolution of its own.

    relu(x) = clamp(I x),      I the depthwise 1x1 identity

Integer kernels clamp at zero while they requantize. Without I a ReLU behind a concatenation that others read, or beside
a shortcut that needs the values below zero, would stay a float operator.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .affine_to_conv import depthwise
from .node_pass import NodePass, RefusedError
from .values import add_initializer, channels, only_consumer

__all__ = ["REQUANTIZING", "StandaloneRelu"]

REQUANTIZING = ("Conv", "Gemm", "Add", "Concat")
"""The operators that requantize their result, so that a clamp behind them costs nothing."""


class StandaloneRelu(NodePass[int]):
    """Inserts the identity in front of each Relu or Clip(0, M) on [N, C, H, W] that has no operator to merge with."""

    def match(self, node: ir.Node) -> int | None:
        """C, the channels of the identity."""
        x = node.inputs[0] if node.op_type in ("Relu", "Clip") else None
        if x is None:
            return None
        producer = x.producer()
        if producer is not None and producer.op_type in REQUANTIZING and only_consumer(x) is node:
            return None
        width = channels(x)
        if width is None:
            raise RefusedError("it is not on [N, C, H, W]")
        return width

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: int) -> None:
        x = node.inputs[0]
        assert x is not None
        name = f"{node.outputs[0].name}.identity"
        identity = depthwise(x, add_initializer(graph, name, np.ones((found, 1, 1, 1), np.float32)), None)
        identity.outputs[0].shape, identity.outputs[0].type = x.shape, x.type
        graph.insert_before(node, identity)
        node.replace_input_with(0, identity.outputs[0])
