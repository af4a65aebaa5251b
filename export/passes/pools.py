"""Average pools in the forms that integer kernels compute exactly.

`CanonicalPools`: ReduceMean over H and W -> GlobalAveragePool (and a Flatten behind it where keepdims = 0); a pool over
one pixel, which is the identity but would be requantized, goes; so does a ceil_mode that makes no window overhang.

`AveragePoolToConv`: mean = (1 / n) * sum, a depthwise convolution with constant weights 1/n. A quantized average pool
multiplies an integer sum by s_x / (s_y * n), which is a power of two only if n is; as a convolution the weight 1/n is
itself quantized, round(2^k / n) * 2^-k with an error of at most 1/128, and the arithmetic is exact.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .affine_to_conv import depthwise
from .values import add_initializer, attribute, channels, constant, replace_by_chain

__all__ = ["AveragePoolToConv", "CanonicalPools"]

_POOLS = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool")


class CanonicalPools(ir.passes.InPlacePass):
    """ReduceMean over the two spatial axes of [N, C, H, W] becomes GlobalAveragePool; pools over one pixel go."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            modified |= _canonical_mean(node) or _needless_ceil_mode(node)
        for node in list(model.graph):
            x, y = (node.inputs[0], node.outputs[0]) if node.op_type in _POOLS else (None, None)
            if x is None or y is None or y.is_graph_output() or not _is_identity(node, x):
                continue
            y.replace_all_uses_with(x)
            model.graph.remove(node, safe=True)
            modified = True
        return ir.passes.PassResult(model, modified)


def _canonical_mean(node: ir.Node) -> bool:
    """True where `node` was a mean over H and W, and was replaced."""
    x = node.inputs[0] if node.op_type == "ReduceMean" else None
    if x is None or x.shape is None or channels(x) is None:
        return False
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else attribute(node, "axes", None)
    if axes is None or sorted(int(a) % 4 for a in axes) != [2, 3]:
        return False
    pool = ir.node("GlobalAveragePool", [x])
    pool.outputs[0].shape = ir.Shape([x.shape[0], x.shape[1], 1, 1])
    pool.outputs[0].type = x.type
    chain = [pool]
    if not attribute(node, "keepdims", 1):
        chain.append(ir.node("Flatten", [pool.outputs[0]], {"axis": 1}))
    replace_by_chain(node, chain)
    return True


def _needless_ceil_mode(node: ir.Node) -> bool:
    """True where every window of `node` lay inside the padded image anyway, and its ceil_mode was taken out."""
    x = node.inputs[0] if node.op_type in ("AveragePool", "MaxPool") else None
    if x is None or x.shape is None or channels(x) is None or not attribute(node, "ceil_mode", 0):
        return False
    kernel, pads = attribute(node, "kernel_shape", []), attribute(node, "pads", [0, 0, 0, 0])
    strides, dilations = (attribute(node, key, [1, 1]) for key in ("strides", "dilations"))
    for axis, size in enumerate(x.shape.dims[2:]):
        if not isinstance(size, int):
            return False
        room = size + pads[axis] + pads[axis + 2] - (kernel[axis] - 1) * dilations[axis] - 1
        if room % strides[axis]:
            return False
    del node.attributes["ceil_mode"]
    return True


def _is_identity(node: ir.Node, x: ir.Value) -> bool:
    if len(node.outputs) > 1 or channels(x) is None or x.shape is None:
        return False
    if node.op_type.startswith("Global"):
        return x.shape[2] == x.shape[3] == 1
    unmoved = all(step == 1 for step in attribute(node, "strides", [1]))
    unpadded = not any(attribute(node, "pads", [0]))
    return unmoved and unpadded and all(size == 1 for size in attribute(node, "kernel_shape", []))


class AveragePoolToConv(ir.passes.InPlacePass):
    """Average pools over a number of pixels that is not a power of two become depthwise convolutions."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            kernel = _kernel(node)
            x = node.inputs[0] if kernel is not None else None
            width = channels(x)
            if x is None or width is None or kernel is None or (kernel[0] * kernel[1]).bit_count() == 1:
                continue
            mean = np.full((width, 1, *kernel), 1 / (kernel[0] * kernel[1]), np.float32)
            conv = depthwise(x, add_initializer(model.graph, f"{node.outputs[0].name}.weight", mean), None)
            if node.op_type == "AveragePool":
                for key in ("pads", "strides"):
                    if key in node.attributes:
                        conv.attributes[key] = node.attributes[key]
            replace_by_chain(node, [conv])
            modified = True
        return ir.passes.PassResult(model, modified)


def _kernel(node: ir.Node) -> tuple[int, int] | None:
    """The window of a pool that is a constant-weight convolution; None for anything else."""
    x = node.inputs[0] if node.inputs else None
    if channels(x) is None or x is None or x.shape is None:
        return None
    if node.op_type == "GlobalAveragePool":
        h, w = x.shape[2], x.shape[3]
        return (h, w) if isinstance(h, int) and isinstance(w, int) else None
    if node.op_type != "AveragePool" or attribute(node, "ceil_mode", 0):
        return None
    if attribute(node, "auto_pad", "NOTSET") != "NOTSET" or any(d != 1 for d in attribute(node, "dilations", [1])):
        return None
    if any(attribute(node, "pads", [0])) and not attribute(node, "count_include_pad", 0):
        return None
    h, w = attribute(node, "kernel_shape", [])
    return int(h), int(w)
