"""An average pool in a form that integer kernels compute exactly.

    mean of n pixels = (1 / n) * sum      a depthwise convolution with constant weights 1/n

A quantized average pool multiplies an integer sum by s_x / (s_y * n), which is a power of two only if n is; as a
convolution the weight 1/n is itself quantized, round(2^k / n) * 2^-k with an error of at most 1/128, and the arithmetic
is exact.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .affine_to_conv import depthwise
from .node_pass import NodePass, RefusedError
from .values import add_initializer, attribute, channels, replace_by_chain

__all__ = ["AveragePoolToConv"]

Window = tuple[int, int]


class AveragePoolToConv(NodePass[Window]):
    """Average pools over a number of pixels that is not a power of two become depthwise convolutions."""

    def match(self, node: ir.Node) -> Window | None:
        """The window, (height, width)."""
        window = _window(node)
        if window is None or (window[0] * window[1]).bit_count() == 1:
            return None
        if node.op_type == "AveragePool":
            _check_plain(node)
        return window

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: Window) -> None:
        x = node.inputs[0]
        width = channels(x)
        assert x is not None
        assert width is not None
        mean = np.full((width, 1, *found), 1 / (found[0] * found[1]), np.float32)
        conv = depthwise(x, add_initializer(graph, f"{node.outputs[0].name}.weight", mean), None)
        if node.op_type == "AveragePool":
            for key in ("pads", "strides"):
                if key in node.attributes:
                    conv.attributes[key] = node.attributes[key]
        replace_by_chain(node, [conv])


def _window(node: ir.Node) -> Window | None:
    if node.op_type not in ("AveragePool", "GlobalAveragePool"):
        return None
    x = node.inputs[0]
    if x is None or x.shape is None or channels(x) is None:
        raise RefusedError("it is not on [N, C, H, W]")
    h, w = x.shape.dims[2:] if node.op_type == "GlobalAveragePool" else attribute(node, "kernel_shape", [])
    if not isinstance(h, int) or not isinstance(w, int):
        raise RefusedError("the size of its images is not known")
    return h, w


def _check_plain(node: ir.Node) -> None:
    """Refuse a pool that is no convolution with constant weights."""
    if attribute(node, "ceil_mode", 0):
        raise RefusedError("its last windows overhang (ceil_mode)")
    if attribute(node, "auto_pad", "NOTSET") != "NOTSET":
        raise RefusedError("its padding depends on the image (auto_pad)")
    if any(d != 1 for d in attribute(node, "dilations", [1])):
        raise RefusedError("it is dilated")
    if any(attribute(node, "pads", [0])) and not attribute(node, "count_include_pad", 0):
        raise RefusedError("its padding does not count")
