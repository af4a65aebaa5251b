"""A normalization of each group of channels is one of rows, and a scale and an offset of each channel.

    InstanceNormalization(x, s, b) = s * LayerNormalization(x, axis=2) + b        x of shape [N, C, ...]

GroupNorm is exported as the left side, on [N, groups, all numbers of a group], with s = 1 and b = 0. The right side
is exact between integers (`quantization/exact_normalization.py`), and a convolution takes scales and offsets.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .node_pass import NodePass
from .values import add_initializer, attribute, constant, replace_by_chain

__all__ = ["GroupNormToLayerNorm"]


class GroupNormToLayerNorm(NodePass[tuple[int, ...]]):
    """InstanceNormalization with constants becomes LayerNormalization, Mul, Add."""

    def match(self, node: ir.Node) -> tuple[int, ...] | None:
        """The sizes behind batch and channels."""
        if node.op_type != "InstanceNormalization" or any(constant(value) is None for value in node.inputs[1:]):
            return None
        x = node.inputs[0]
        shape = () if x is None or x.shape is None else x.shape.dims[2:]
        sizes = tuple(size for size in shape if isinstance(size, int))
        return sizes if sizes and len(sizes) == len(shape) else None

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: tuple[int, ...]) -> None:
        x, name = node.inputs[0], node.outputs[0].name
        assert x is not None
        gain = add_initializer(graph, f"{name}.gain", np.ones(found, np.float32))
        epsilon = attribute(node, "epsilon", 1e-5)
        chain = [ir.node("LayerNormalization", [x, gain], {"axis": 2, "epsilon": epsilon})]
        for operator, index, neutral in (("Mul", 1, 1), ("Add", 2, 0)):
            numbers = np.asarray(constant(node.inputs[index]), np.float32)
            if (numbers != neutral).any():
                each = add_initializer(graph, f"{name}.{operator}", numbers.reshape(-1, *[1] * len(found)))
                chain.append(ir.node(operator, [chain[-1].outputs[0], each]))
        for made in chain:
            made.outputs[0].shape, made.outputs[0].type = x.shape, x.type
        replace_by_chain(node, chain)
