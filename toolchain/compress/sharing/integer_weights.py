"""The weight tensors of an integer graph: int8 initializers that a convolution or linear layer reads dequantized."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from ....runtime.shapes import Float32, Int

__all__ = ["IntegerWeights", "integer_weights"]

_KINDS = {"Conv": "conv", "ConvTranspose": "conv", "Gemm": "linear", "MatMul": "linear"}


@dataclass(frozen=True, kw_only=True, slots=True)
class IntegerWeights:
    """One tensor, w = scale * codes.

    Attributes:
        initializer: its name in the graph.
        layer: the name of its layer in the network, as far as the exporter kept it.
        kind: "conv" or "linear".
        codes: int8, zero point 0.
        scale: of each weight's channel, to broadcast with them.
    """

    initializer: str
    layer: str
    kind: str
    codes: Int[npt.NDArray[np.int8], " *shape"]
    scale: Float32[npt.NDArray[np.float32], " *_"]


def integer_weights(model: onnx.ModelProto) -> list[IntegerWeights]:
    """All of them, in the order of their layers; a tensor that several layers read, once."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    readers = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    found: dict[str, IntegerWeights] = {}
    for node in model.graph.node:
        for name in node.input[:2] if node.op_type in _KINDS else ():
            reader = readers.get(name)
            if reader is None or reader.input[0] in found:
                continue
            codes, scale = (stored.get(name) for name in reader.input[:2])
            if codes is None or scale is None or codes.data_type != onnx.TensorProto.INT8:
                continue
            if len(reader.input) > 2 and numpy_helper.to_array(stored[reader.input[2]]).any():
                continue
            array = numpy_helper.to_array(codes)
            axis = next((a.i for a in reader.attribute if a.name == "axis"), 1)
            found[codes.name] = IntegerWeights(
                initializer=codes.name,
                layer=codes.name.partition(".weight")[0],
                kind=_KINDS[node.op_type],
                codes=array,
                scale=_along(numpy_helper.to_array(scale), array.ndim, axis),
            )
    return list(found.values())


def _along(scale: npt.NDArray[np.float32], dims: int, axis: int) -> npt.NDArray[np.float32]:
    return scale if scale.ndim == 0 else scale.reshape([-1 if i == axis % dims else 1 for i in range(dims)])
