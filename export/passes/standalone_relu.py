"""A ReLU that no convolution, linear layer or sum feeds alone gets an identity convolution of its own.

Integer kernels clamp at zero while they requantize, so relu(x) = clamp(I x) with I the depthwise 1x1 identity. Without
it a ReLU behind a concatenation, or beside a shortcut that needs the values below zero, would stay a float operator.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .affine_to_conv import depthwise
from .values import add_initializer, channels, only_consumer

__all__ = ["REQUANTIZING", "StandaloneRelu"]

REQUANTIZING = ("Conv", "Gemm", "Add", "Concat")
"""The operators that requantize their result, so that a clamp behind them costs nothing."""


class StandaloneRelu(ir.passes.InPlacePass):
    """Inserts the identity in front of each Relu or Clip(0, M) on [N, C, H, W] that has no operator to merge with."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if node.op_type not in ("Relu", "Clip"):
                continue
            x = node.inputs[0]
            width = channels(x)
            if x is None or width is None:
                continue
            producer = x.producer()
            if producer is not None and producer.op_type in REQUANTIZING and only_consumer(x) is node:
                continue
            name = f"{node.outputs[0].name}.identity"
            identity = depthwise(x, add_initializer(model.graph, name, np.ones((width, 1, 1, 1), np.float32)), None)
            identity.outputs[0].shape, identity.outputs[0].type = x.shape, x.type
            model.graph.insert_before(node, identity)
            node.replace_input_with(0, identity.outputs[0])
            modified = True
        return ir.passes.PassResult(model, modified)
