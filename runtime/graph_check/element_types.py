"""The element types of a graph's values, as far as they follow from constants, inputs and operators.

Rule: a type is told only where ONNX's operator allows no other (or ONNX Runtime refuses the graph before it runs any of
it). Everything else is 0, unknown. Nodes are gone through once, in the file's order.
"""

from __future__ import annotations

from .onnx_records import Model, Node, Tensor
from .tensor_data import ELEMENT_TYPES

__all__ = ["UNKNOWN", "constant_of", "element_types"]

UNKNOWN = 0
_FLOAT, _INT32, _INT64, _BOOL = 1, 6, 7, 9

# fmt: off
_FLOAT_OPERATORS = frozenset({
    "AveragePool", "BatchNormalization", "Celu", "Conv", "ConvTranspose", "DequantizeLinear", "DynamicQuantizeMatMul",
    "Elu", "Erf", "Exp", "Ceil", "Cos", "Floor", "Gelu", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool",
    "GroupNormalization", "HardSigmoid", "HardSwish", "Hardmax", "InstanceNormalization", "LRN", "LayerNormalization",
    "LeakyRelu", "Log", "LogSoftmax", "LpNormalization", "LpPool", "MatMulIntegerToFloat", "MatMulNBits",
    "MeanVarianceNormalization", "Mish", "RMSNormalization", "RandomNormal", "RandomUniform", "Reciprocal", "Round",
    "Selu", "Sigmoid", "Sin", "Softmax", "Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu",
})
"""The first output is of floats, whatever their width."""

_OTHER_OPERATORS = {
    "And": _BOOL, "ArgMax": _INT64, "ArgMin": _INT64, "ConvInteger": _INT32, "Equal": _BOOL, "Greater": _BOOL,
    "GreaterOrEqual": _BOOL, "IsInf": _BOOL, "IsNaN": _BOOL, "Less": _BOOL, "LessOrEqual": _BOOL,
    "MatMulInteger": _INT32, "NonZero": _INT64, "Not": _BOOL, "Or": _BOOL, "Shape": _INT64, "Size": _INT64,
    "Xor": _BOOL,
}

_AS_FIRST = frozenset({
    "Abs", "Clip", "CumSum", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherElements", "GatherND",
    "Identity", "MaxPool", "Neg", "Pad", "Pow", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
    "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Resize",
    "ReverseSequence", "ScatterElements", "ScatterND", "Sign", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile",
    "TopK", "Transpose", "Trilu", "Unsqueeze", "Upsample",
})
"""The first output is of the first input's type."""

_AS_ANY = frozenset({
    "Add", "Concat", "Div", "Einsum", "Gemm", "MatMul", "Max", "Mean", "Min", "Mod", "Mul", "PRelu", "Range", "Sub",
    "Sum",
})
"""The output and all inputs are of one type."""
# fmt: on

_ONE_TYPE: dict[str, tuple[int, int | None]] = {
    **dict.fromkeys(_AS_FIRST, (0, 1)),
    **dict.fromkeys(_AS_ANY, (0, None)),
    "CastLike": (1, 2),
    "Where": (1, 3),
}
"""Which inputs, from where to where, are of the type of the first output."""


def constant_of(node: Node) -> Tensor | None:
    """The tensor that a Constant node holds; None where it is written as numbers or text."""
    value = node.attributes.get(b"value")
    return None if value is None else value.tensor


def element_types(model: Model) -> dict[bytes, int]:
    """The element type of each value, a number of `ELEMENT_TYPES`; a value that is not there is of an unknown one."""
    types = {value.name: value.data_type for value in model.inputs}
    types |= {tensor.name: tensor.data_type for tensor in model.tensors}
    for node in model.nodes:
        if node.outputs:
            types[node.outputs[0]] = found = _type(node, types)
            if node.op_type == b"Split":
                types |= dict.fromkeys(node.outputs, found)
    return types


def _type(node: Node, types: dict[bytes, int]) -> int:
    op_type = node.op_type.decode()
    if op_type in _FLOAT_OPERATORS:
        return _FLOAT
    if op_type in ("Constant", "ConstantOfShape"):
        return _constant(node)
    if op_type == "Cast":
        to = node.attributes.get(b"to")
        return to.number if to is not None and to.number in ELEMENT_TYPES else UNKNOWN
    first, last = _ONE_TYPE.get(op_type, (0, 0))
    known = filter(None, (types.get(name) for name in node.inputs[first:last]))
    return _OTHER_OPERATORS.get(op_type) or next(known, UNKNOWN)


def _constant(node: Node) -> int:
    tensor = constant_of(node)
    if tensor is not None:
        return tensor.data_type
    if b"value_int" in node.attributes or b"value_ints" in node.attributes:
        return _INT64
    of_floats = node.op_type == b"ConstantOfShape" or {b"value_float", b"value_floats"} & node.attributes.keys()
    return _FLOAT if of_floats else UNKNOWN
