"""The graph takes the camera's pixels: uint8 [N, C, H, W], and its first operator turns them into real numbers.

    x = pixel / 255 = (255 * s)^-1 * s * pixel

With s = 1/255 DequantizeLinear gives x itself. With s = 2^-8 it gives x * 255/256 exactly; the factor 256/255 that is
left is a per-channel affine map, which the passes behind fold into the first layer's weights before they are quantized.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .affine_to_conv import depthwise
from .values import add_initializer, channels

__all__ = ["PixelInput"]


class PixelInput(ir.passes.InPlacePass):
    """The float input in [0, 1] becomes a uint8 input of the same name and shape.

    Args:
        scale: the real number that one step of a pixel stands for behind the DequantizeLinear.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = np.float32(scale)

    def requires(self, model: ir.Model) -> None:
        inputs = [(value.dtype, value.shape) for value in model.graph.inputs]
        known = len(inputs) == 1 and inputs[0][0] in (ir.DataType.FLOAT, ir.DataType.UINT8)
        if not known or channels(model.graph.inputs[0]) is None:
            raise ir.passes.PreconditionError(f"not one float32 or uint8 input [N, C, H, W]: {inputs}")

    def ensures(self, model: ir.Model) -> None:
        (pixels,) = model.graph.inputs
        readers = [node.op_type for node, _ in pixels.uses()]
        if pixels.dtype != ir.DataType.UINT8 or [kind for kind in readers if kind != "Shape"] != ["DequantizeLinear"]:
            raise ir.passes.PostconditionError(f"the input is {pixels.dtype} and read by {readers}")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        old = graph.inputs[0]
        if old.dtype == ir.DataType.UINT8:
            return ir.passes.PassResult(model, False)
        pixels = ir.Value(name=old.name, shape=old.shape, type=ir.TensorType(ir.DataType.UINT8))
        scale = add_initializer(graph, "image_scale", np.array(self.scale, np.float32))
        zero = add_initializer(graph, "image_zero_point", np.array(0, np.uint8))
        chain = [ir.node("DequantizeLinear", [pixels, scale, zero])]
        factor = 1 / (255 * np.float64(self.scale))
        width = channels(old)
        if abs(factor - 1) > 1e-6 and width is not None:
            weight = add_initializer(graph, "image_factor", np.full((width, 1, 1, 1), factor, np.float32))
            chain.append(depthwise(chain[0].outputs[0], weight, None))
        for node in chain:
            node.outputs[0].shape, node.outputs[0].type = old.shape, old.type
        for node, index in list(old.uses()):
            node.replace_input_with(index, pixels if node.op_type == "Shape" else chain[-1].outputs[0])
        graph.inputs[0] = pixels
        first = next(iter(graph))
        graph.insert_before(first, chain)
        old.name = None
        return ir.passes.PassResult(model, True)
