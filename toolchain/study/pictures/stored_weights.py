"""The weights of a graph's layers, float or integer, as real numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from ...compress.sharing.integer_weights import integer_weights
from .hidden_layers import LAYERS

__all__ = ["layer_weights"]


def layer_weights(path: Path) -> list[NDArray[np.float32]]:
    """Of every convolution and linear layer with constant weights, in the graph's order.

    Args:
        path: an ONNX file; integers are multiplied with their scales.
    """
    model = onnx.load(str(path))
    found = [(weights.codes * weights.scale).astype(np.float32) for weights in integer_weights(model)]
    if found:
        return found
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    return [
        numpy_helper.to_array(stored[node.input[1]])
        for node in model.graph.node
        if node.op_type in LAYERS and node.input[1] in stored
    ]
