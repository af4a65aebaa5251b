"""Weights and biases as integers behind a DequantizeLinear.

    w = s_w * n_w   (int8, one scale per output channel, axis 0)        b = s_x * s_w * n_b   (int32)

A Gemm's alpha, beta and transB go into its weights, so that a channel is a row.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ...runtime.errors import DataError
from ..passes.values import add_initializer, attribute, constant
from .scheme import Grid, Scheme, weight_scales

__all__ = ["QuantizedWeights"]

_Array = npt.NDArray[np.float32]


class QuantizedWeights:
    """Quantizes the weights of one graph's Conv and Gemm nodes.

    Attributes:
        shadow: the float values that each integer initializer was rounded from, by its name.
    """

    def __init__(self, scheme: Scheme) -> None:
        self._scheme = scheme
        self.shadow: dict[str, _Array] = {}

    def quantize(self, graph: ir.Graph, node: ir.Node, grid: Grid) -> None:
        """Replace weight and bias of `node`, which reads a tensor on `grid`.

        Raises:
            DataError: a weight or bias is not finite.
        """
        assert node.inputs[1] is not None
        name = node.inputs[1].name or "weight"
        weight, bias = _gemm_rows(node) if node.op_type == "Gemm" else _constants(node)
        if not np.isfinite(weight).all() or (bias is not None and not np.isfinite(bias).all()):
            raise DataError(f"weights of {name!r}", expected="finite values", got="NaN or infinity", fix="train longer")
        scales = weight_scales(weight, bias, input_scale=grid.scale, scheme=self._scheme)
        limit = self._scheme.weights.high
        integers = np.clip(np.rint(weight / scales.reshape(-1, *[1] * (weight.ndim - 1))), -limit, limit)
        node.replace_input_with(1, self._dequantized(graph, name, weight, integers.astype(np.int8), scales))
        if bias is not None:
            bias_scales = (np.float32(grid.scale) * scales).astype(np.float32)
            rounded = np.rint(bias.astype(np.float64) / bias_scales).astype(np.int32)
            label = name.removesuffix("weight") + "bias"
            node.replace_input_with(2, self._dequantized(graph, label, bias, rounded, bias_scales))

    def _dequantized(
        self,
        graph: ir.Graph,
        name: str,
        values: _Array,
        integers: npt.NDArray[np.int8] | npt.NDArray[np.int32],
        scales: _Array,
    ) -> ir.Value:
        """An integer initializer and the DequantizeLinear that reads it."""
        stored = add_initializer(graph, f"{name}_quantized", integers)
        scale = add_initializer(graph, f"{name}_scale", scales)
        zero = add_initializer(graph, f"{name}_zero_point", np.zeros(len(scales), integers.dtype))
        dq = ir.node("DequantizeLinear", [stored, scale, zero], {"axis": 0})
        dq.outputs[0].type, dq.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(list(integers.shape))
        graph.insert_before(next(iter(graph)), dq)
        own = stored.name or name  # of weights that several nodes share, each has integers of its own
        dq.outputs[0].name = own.replace("_quantized", "_dequantized")
        self.shadow[own] = np.ascontiguousarray(values, np.float32)
        return dq.outputs[0]


def _constants(node: ir.Node) -> tuple[_Array, _Array | None]:
    weight = constant(node.inputs[1])
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return np.asarray(weight, np.float32), None if bias is None else np.asarray(bias, np.float32)


def _gemm_rows(node: ir.Node) -> tuple[_Array, _Array | None]:
    """Weight [K, features] and bias [K] with alpha and beta multiplied in; the node then has neither."""
    weight, bias = _constants(node)
    weight = weight * np.float32(attribute(node, "alpha", 1.0))
    if not attribute(node, "transB", 0):
        weight = weight.T
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1) * np.float32(attribute(node, "beta", 1.0)), (len(weight),))
    for name, value in (("alpha", 1.0), ("beta", 1.0), ("transB", 1)):
        node.attributes[name] = ir.convenience.convert_attribute(name, value)
    return weight, bias
