"""The float network as an ONNX graph of uint8 pixels: what an integer graph stands beside.

logits = f(pixels / 255)
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

from .lower import FloatGraph, pixel_graph

__all__ = ["float_pixels"]

_SCALE = 1 / 255


def float_pixels(graph: FloatGraph) -> onnx.ModelProto:
    """The graph behind a division of its pixels.

    Args:
        graph: of images in [0, 1]; left as it is.

    Returns:
        uint8 [N, C, H, W] -> logits, float32 [N, K].
    """
    return ir.to_proto(pixel_graph(graph, scale=_SCALE, exact=False).model)
