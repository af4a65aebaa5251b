"""How an engine takes pixels: as they are, uint8 [N, C, H, W].

TensorRT takes uint8 at an engine's edge since 8.5, but only to cast it to float; its quantized type is int8, which does
not hold 0..255. So the pixels p are split into three planes that it holds, and the first convolution runs on them with
its weights three times over:

    p = q_0 + q_1 + q_2,   q_k = clamp(p - 127 k, 0, 127)        conv(s p, W) = conv([q_0, q_1, q_2], s [W, W, W])

Padding with zeros stays padding with black. The clamp at 127 is int8's own. With power-of-two scales s W is exact.

Where it is asked for, or anything else reads the pixels, that layer computes on floats: the same function, with factors
that TF32 and FP16 hold too, and sums below 2^24.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..integer_types import INT8
from ..passes.values import add_initializer, attribute, channels, constant
from .constants import float_layer, has_integer_weights

__all__ = ["CastPixels"]

_PLANES = 3
_LARGEST = INT8.high


class CastPixels(ir.passes.InPlacePass):
    """The DequantizeLinear of the graph's uint8 input becomes a Cast and what follows from it.

    Args:
        planes: split the pixels where only convolutions with integer weights, all of as many groups, read them.
    """

    def __init__(self, *, planes: bool) -> None:
        super().__init__()
        self._planes = planes

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        pixels = graph.inputs[0]
        readers = [node for node, _ in pixels.uses()]
        if pixels.dtype != ir.DataType.UINT8 or [node.op_type for node in readers] != ["DequantizeLinear"]:
            return ir.passes.PassResult(model, False)
        (dequantize,) = readers
        scale = constant(dequantize.inputs[1])
        assert scale is not None
        cast = _node("Cast", [pixels], pixels.shape, {"to": ir.DataType.FLOAT})
        graph.insert_before(dequantize, cast)
        layers = [node for node, _ in dequantize.outputs[0].uses()]
        groups = {attribute(node, "group", 1) for node in layers}
        if self._planes and len(groups) == 1 and all(n.op_type == "Conv" and has_integer_weights(n) for n in layers):
            planes = _split(graph, dequantize, cast.outputs[0], groups.pop())
            for layer in layers:
                _widen(graph, layer, planes, float(scale))
        else:
            real = _node("Mul", [cast.outputs[0], add_initializer(graph, "image_step", scale)], pixels.shape)
            graph.insert_before(dequantize, real)
            dequantize.outputs[0].replace_all_uses_with(real.outputs[0])
            for layer in layers:
                float_layer(graph, layer)
        return ir.passes.PassResult(model, True)


def _split(graph: ir.Graph, before: ir.Node, image: ir.Value, groups: int) -> ir.Value:
    """[N, C, H, W] floats 0..255 -> [N, 3 C, H, W] dequantized integers of scale 1, a group's planes side by side."""
    width = channels(image)
    assert width is not None
    assert image.shape is not None
    source = np.arange(width).reshape(groups, 1, -1).repeat(_PLANES, axis=1).reshape(-1)
    plane = np.arange(_PLANES).reshape(1, -1, 1).repeat(groups, axis=0).repeat(width // groups, axis=2).reshape(-1)
    shape = ir.Shape([image.shape[0], len(source), *image.shape[2:]])
    scale = add_initializer(graph, "plane_scale", np.array(1, np.float32))
    zero = add_initializer(graph, "plane_zero_point", np.array(0, np.int8))
    offset = add_initializer(graph, "plane_offset", (plane * _LARGEST).astype(np.float32).reshape(1, -1, 1, 1))
    copies = []
    if width > 1:  # one channel is broadcast against the offsets
        indices = add_initializer(graph, "plane_source", source.astype(np.int64))
        copies = [_node("Gather", [image, indices], shape, {"axis": 1})]
    shifted = _node("Sub", [copies[0].outputs[0] if copies else image, offset], shape)
    positive = _node("Relu", [shifted.outputs[0]], shape)
    rounded = _node("QuantizeLinear", [positive.outputs[0], scale, zero], shape, kind=ir.DataType.INT8)
    planes = _node("DequantizeLinear", [rounded.outputs[0], scale, zero], shape)
    rounded.outputs[0].name = "image_planes"
    graph.insert_before(before, [*copies, shifted, positive, rounded, planes])
    return planes.outputs[0]


def _widen(graph: ir.Graph, conv: ir.Node, planes: ir.Value, step: float) -> None:
    """Let `conv` read the planes; its integer weights are repeated, and scaled by what a pixel stands for."""
    value = conv.inputs[1]
    assert value is not None
    old = value.producer()
    assert old is not None
    weight, scale = constant(old.inputs[0]), constant(old.inputs[1])
    assert weight is not None
    assert scale is not None
    name = (old.inputs[0].name if old.inputs[0] is not None else None) or "weight"
    tiled = add_initializer(graph, name, np.tile(weight, (1, _PLANES, 1, 1)))
    scales = add_initializer(graph, f"{name}_scale", np.asarray(scale * np.float32(step), np.float32))
    wide = _node("DequantizeLinear", [tiled, scales, old.inputs[2]], tiled.shape, {"axis": 0})
    graph.insert_before(conv, wide)
    conv.replace_input_with(0, planes)
    conv.replace_input_with(1, wide.outputs[0])
    wide.outputs[0].name = f"{name}_planes"


def _node(
    op_type: str,
    inputs: list[ir.Value | None],
    shape: ir.Shape | None,
    attributes: dict[str, int] | None = None,
    *,
    kind: ir.DataType = ir.DataType.FLOAT,
) -> ir.Node:
    node = ir.node(op_type, inputs, attributes or {})
    node.outputs[0].type, node.outputs[0].shape = ir.TensorType(kind), shape
    return node
