"""Weights and biases as integers behind a DequantizeLinear.

    w = s_w * n_w   (int8, one scale per output channel, axis 0)        b = s_x * s_w * n_b   (int32)

Which integers: `weight_codes.py`. Biases have 32 bits, whatever the weights have.

A Gemm's alpha, beta and transB go into its weights, so that a channel is a row.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ...runtime.errors import DataError
from ..passes.values import add_initializer, attribute, constant
from .scheme import Grid, Scheme
from .weight_codes import weight_codes, weight_scales

__all__ = ["QuantizedWeights"]

_Array = npt.NDArray[np.float32]


class QuantizedWeights:
    """Quantizes the weights of one graph's Conv and Gemm nodes.

    Args:
        scheme: says the kind of scale.
        bits: of the weights, by node; others have `Scheme.other_weight_bits`.

    Attributes:
        shadow: the float values that each integer initializer was rounded from, by its name.
        bits: of the codes of each weight, by the initializer's name.
    """

    def __init__(self, scheme: Scheme, bits: Mapping[ir.Node, int] | None = None) -> None:
        self._scheme = scheme
        self._asked = bits or {}
        self.shadow: dict[str, _Array] = {}
        self.bits: dict[str, int] = {}

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
        bits = self._asked.get(node, self._scheme.other_weight_bits)
        scales = weight_scales(weight, bias, input_scale=grid.scale, scheme=self._scheme, bits=bits)
        integers = weight_codes(weight, scales, bits=bits)
        stored, dequantized = self._dequantized(graph, name, weight, integers, scales)
        self.bits[stored] = bits
        node.replace_input_with(1, dequantized)
        if bias is not None:
            bias_scales = (np.float32(grid.scale) * scales).astype(np.float32)
            rounded = np.rint(bias.astype(np.float64) / bias_scales).astype(np.int32)
            label = name.removesuffix("weight") + "bias"
            node.replace_input_with(2, self._dequantized(graph, label, bias, rounded, bias_scales)[1])

    def _dequantized(
        self,
        graph: ir.Graph,
        name: str,
        values: _Array,
        integers: npt.NDArray[np.int8] | npt.NDArray[np.int32],
        scales: _Array,
    ) -> tuple[str, ir.Value]:
        """The name of an integer initializer, and what the DequantizeLinear that reads it gives."""
        stored = add_initializer(graph, f"{name}_quantized", integers)
        scale = add_initializer(graph, f"{name}_scale", scales)
        zero = add_initializer(graph, f"{name}_zero_point", np.zeros(len(scales), integers.dtype))
        dq = ir.node("DequantizeLinear", [stored, scale, zero], {"axis": 0})
        dq.outputs[0].type, dq.outputs[0].shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(list(integers.shape))
        graph.insert_before(next(iter(graph)), dq)
        own = stored.name or name  # of weights that several nodes share, each has integers of its own
        dq.outputs[0].name = own.replace("_quantized", "_dequantized")
        self.shadow[own] = np.ascontiguousarray(values, np.float32)
        return own, dq.outputs[0]


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
