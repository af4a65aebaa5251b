"""A per-channel affine map becomes a depthwise 1x1 convolution, which integer kernels know.

    y[n, c, h, w] = a[c] * x[n, c, h, w] + b[c]      (Mul, Div, Add, Sub with constants; BatchNormalization)

is Conv(x, W, b) with W of shape [C, 1, 1, 1], W[c] = a[c] and group = C. Where x is already the output of a
convolution, `MergeConvs` then makes one of the two.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .affine_map import Affine, affine_map
from .elementwise import functions
from .node_pass import NodePass
from .values import add_initializer, replace_by_chain

__all__ = ["AffineToConv", "affine_conv", "depthwise"]


class AffineToConv(NodePass[tuple[ir.Value, Affine]]):
    """Mul, Div, Add, Sub (with a per-channel constant) and BatchNormalization on [N, C, H, W] become Conv.

    Not those within a function of one tensor (`elementwise.py`).
    """

    def prepare(self, graph: ir.Graph) -> None:
        self._functions = functions(graph)

    def match(self, node: ir.Node) -> tuple[ir.Value, Affine] | None:
        """(x, (a, b))."""
        return None if node in self._functions else affine_map(node, rank=4)

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: tuple[ir.Value, Affine]) -> None:
        x, affine = found
        replace_by_chain(node, [affine_conv(graph, node.outputs[0].name or "affine", x, affine)])


def affine_conv(graph: ir.Graph, name: str, x: ir.Value, affine: Affine) -> ir.Node:
    """The module's convolution of `x`, its weights called after `name`."""
    a, b = affine
    weight = add_initializer(graph, f"{name}.weight", a.astype(np.float32).reshape(-1, 1, 1, 1))
    return depthwise(x, weight, add_initializer(graph, f"{name}.bias", b.astype(np.float32)))


def depthwise(x: ir.Value, weight: ir.Value, bias: ir.Value | None) -> ir.Node:
    """A depthwise Conv node whose kernel is all of `weight`'s spatial extent, stride 1, no padding."""
    assert weight.const_value is not None
    size = list(weight.const_value.shape.numpy())
    inputs = [x, weight] if bias is None else [x, weight, bias]
    attributes: dict[str, int | list[int]] = {
        "group": size[0],
        "kernel_shape": size[2:],
        "pads": [0, 0, 0, 0],
        "strides": [1, 1],
        "dilations": [1, 1],
    }
    return ir.node("Conv", inputs, attributes)
