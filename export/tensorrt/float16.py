"""FP16 for what stays float, on versions whose networks are strongly typed: the graph's own types say it.

In a float graph that is every operator, in a quantized one each convolution and product of floats. Their constants
become float16, and casts stand where float32 comes in or goes out. Quantized layers keep float32 scales and biases:
their kernels compute on int8 whatever the type between them is called, and a bias of 22 bits does not fit float16.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from ..passes.values import add_initializer, constant

__all__ = ["to_float16"]

_PRODUCTS = ("Conv", "Gemm", "MatMul")
_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with its float operators in float16; input and output keep their types.

    Args:
        model: a graph for TensorRT (`dialect.py`).
    """
    graph_model = ir.from_proto(onnx.shape_inference.infer_shapes(model))  # every value with its type
    graph = graph_model.graph
    chosen = _chosen(graph)
    halves = {output for node in chosen for output in node.outputs if output.dtype == _FLOAT}
    casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
    for node in list(graph):
        inside = node in chosen
        for index, value in enumerate(node.inputs):
            if value is None or (value.dtype != _FLOAT and value not in halves):
                continue
            if inside and value not in halves:
                node.replace_input_with(index, _half(graph, node, value, casts))
            elif not inside and value in halves:
                node.replace_input_with(index, _cast(graph, node, value, _FLOAT, casts))
    for value in halves:
        value.type = ir.TensorType(_HALF)
    for index, output in enumerate(graph.outputs):
        if output in halves:
            name = output.name
            output.name = f"{name}_half"
            graph.outputs[index] = _cast(graph, None, output, _FLOAT, casts)
            graph.outputs[index].name = name
    proto = ir.to_proto(graph_model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _chosen(graph: ir.Graph) -> set[ir.Node]:
    if any(node.op_type == "QuantizeLinear" for node in graph):
        return {n for n in graph if n.op_type in _PRODUCTS and constant(n.inputs[1]) is not None}
    return {node for node in graph if node.op_type != "Cast"}


def _half(
    graph: ir.Graph, before: ir.Node, value: ir.Value, casts: dict[tuple[ir.Value, ir.DataType], ir.Value]
) -> ir.Value:
    array = constant(value)
    if array is None:
        return _cast(graph, before, value, _HALF, casts)
    limit = np.finfo(np.float16).max
    return add_initializer(graph, value.name or "constant", np.asarray(np.clip(array, -limit, limit), np.float16))


def _cast(
    graph: ir.Graph,
    before: ir.Node | None,
    value: ir.Value,
    kind: ir.DataType,
    casts: dict[tuple[ir.Value, ir.DataType], ir.Value],
) -> ir.Value:
    """`value` as `kind`, cast once however many read it; at the end of the graph where nobody in it does."""
    if (value, kind) not in casts:
        name = f"{value.name}_{kind.name.lower()}"
        node = ir.node("Cast", [value], {"to": kind}, name=f"Cast:{name}")
        node.outputs[0].name = name
        node.outputs[0].type, node.outputs[0].shape = ir.TensorType(kind), value.shape
        if before is None:
            graph.append(node)
        else:
            graph.insert_before(before, node)
        casts[value, kind] = node.outputs[0]
    return casts[value, kind]
