"""Dequantized constants, as TensorRT takes them.

A bias of int32 behind a DequantizeLinear becomes a float constant: TensorRT has no quantized bias. Weights stay int8,
or, before version 10, become floats behind a QuantizeLinear ("Weights of Q/DQ models must be specified using FP32",
TensorRT 8.5 developer guide): fl(s n) / s lies within 2^-16 of n, and n is what it rounds to.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ..passes.values import add_initializer, attribute, constant

__all__ = ["float_biases", "float_layer", "has_integer_weights", "quantize_float_weights"]


def float_biases(graph: ir.Graph) -> None:
    """Every dequantized int32 constant becomes a float constant."""
    for node in list(graph):
        stored = constant(node.inputs[0]) if node.op_type == "DequantizeLinear" else None
        if stored is not None and stored.dtype == np.int32:
            node.outputs[0].replace_all_uses_with(_real(graph, node))
            graph.remove(node, safe=True)


def quantize_float_weights(graph: ir.Graph) -> None:
    """Every dequantized int8 constant becomes a float constant that is quantized and dequantized."""
    for node in list(graph):
        stored = constant(node.inputs[0]) if node.op_type == "DequantizeLinear" else None
        if stored is None or stored.dtype != np.int8:
            continue
        real = _real(graph, node)
        quantize = ir.node("QuantizeLinear", [real, *node.inputs[1:]], {"axis": attribute(node, "axis", 1)})
        quantize.outputs[0].type, quantize.outputs[0].shape = ir.TensorType(ir.DataType.INT8), real.shape
        graph.insert_before(node, quantize)
        node.replace_input_with(0, quantize.outputs[0])


def has_integer_weights(node: ir.Node) -> bool:
    """Whether `node` is a Conv or Gemm with a dequantized constant as its weight."""
    weight = node.inputs[1].producer() if node.op_type in ("Conv", "Gemm") and node.inputs[1] is not None else None
    return weight is not None and weight.op_type == "DequantizeLinear" and constant(weight.inputs[0]) is not None


def float_layer(graph: ir.Graph, node: ir.Node) -> None:
    """Let a Conv or Gemm compute on floats: its weights become the floats that their integers stand for."""
    weight = node.inputs[1].producer() if has_integer_weights(node) and node.inputs[1] is not None else None
    if weight is not None:
        node.replace_input_with(1, _real(graph, weight))


def _real(graph: ir.Graph, dequantize: ir.Node) -> ir.Value:
    """What a DequantizeLinear of a constant gives, as an initializer."""
    stored, scale = constant(dequantize.inputs[0]), constant(dequantize.inputs[1])
    assert stored is not None
    assert scale is not None
    steps: npt.NDArray[np.float32] = scale.reshape(-1, *[1] * (stored.ndim - 1)) if scale.ndim else scale
    name = (dequantize.inputs[0].name if dequantize.inputs[0] is not None else None) or "constant"
    # as ONNX defines it: the integer as float32, times the scale
    return add_initializer(graph, re.sub("_quantized$", "", name), stored.astype(np.float32) * steps)
