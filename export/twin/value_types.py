"""The element type of every value in a graph, by the rules of ONNX's operators.

Most operators give the type of their first input; the others are in the tables. A type that nothing says is 0
(UNDEFINED). ONNX's own shape inference stops at operators of other domains, which quantized graphs are full of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx
from onnx import TensorProto

__all__ = ["element_types"]

_FIXED = {
    **dict.fromkeys(("And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual"), "BOOL"),
    **dict.fromkeys(("Not", "Or", "Xor"), "BOOL"),
    **dict.fromkeys(("ArgMax", "ArgMin", "NonZero", "Shape", "Size"), "INT64"),
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), "INT32"),
}
_FROM_INPUT = {"CastLike": 1, "ConstantOfShape": 1, "DequantizeLinear": 1, "QuantizeLinear": 2, "Where": 1}
"""The position of the input that has the result's type, where that is not the first."""

_OTHERWISE = {
    "ConstantOfShape": int(TensorProto.FLOAT),
    "QuantizeLinear": int(TensorProto.UINT8),
    "RandomNormal": int(TensorProto.FLOAT),
    "RandomUniform": int(TensorProto.FLOAT),
}

_FROM_ATTRIBUTE = {
    "Cast": "to",
    "DequantizeLinear": "output_dtype",
    "QuantizeLinear": "output_dtype",
    **dict.fromkeys(("EyeLike", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), "dtype"),
    **dict.fromkeys(("Bernoulli", "Multinomial"), "dtype"),
}


def element_types(
    nodes: Iterable[onnx.NodeProto], inputs: Iterable[onnx.ValueInfoProto], constants: Mapping[str, int]
) -> dict[str, int]:
    """TensorProto's number of each value's type, by name.

    Args:
        nodes: in graph order.
        inputs: the graph's.
        constants: the types of the values that stand in the graph.
    """
    types = {value.name: value.type.tensor_type.elem_type for value in inputs} | dict(constants) | {"": 0}
    for node in nodes:
        types.update(dict.fromkeys((name for name in node.output if name), _result(node, types)))
        if node.op_type == "Dropout" and len(node.output) > 1:
            types[node.output[1]] = TensorProto.BOOL
        if node.op_type == "DynamicQuantizeLinear":
            types.update(zip(node.output, (TensorProto.UINT8, TensorProto.FLOAT, TensorProto.UINT8), strict=False))
        if node.op_type == "MaxPool" and len(node.output) > 1:
            types[node.output[1]] = TensorProto.INT64
    return types


def _result(node: onnx.NodeProto, types: Mapping[str, int]) -> int:
    """By the first rule that says one: the operator's own, an attribute's, an input's."""
    op_type = node.op_type
    if op_type in _FIXED:
        return int(TensorProto.DataType.Value(_FIXED[op_type]))
    for attribute in node.attribute:
        if attribute.name == _FROM_ATTRIBUTE.get(op_type) and attribute.i:
            return int(attribute.i)
        if op_type == "ConstantOfShape" and attribute.name == "value":
            return int(attribute.t.data_type)
    inputs = [types.get(name, 0) for name in node.input]
    position = _FROM_INPUT.get(op_type, 0)
    return inputs[position] if position < len(inputs) and node.input[position] else _OTHERWISE.get(op_type, 0)
