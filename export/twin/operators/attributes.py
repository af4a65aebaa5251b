"""What the twin knows of each operator's attributes. What is not in these tables is an unknown operator, never ignored.

An attribute that is listed is implemented, or has no influence on the result. Any other one must have the value that
ONNX's schema gives it by default. `LIMITS` says which values of a listed attribute are not implemented. The audit is of
ONNX's opsets 7 to `AUDITED`: an operator that a later one redefined is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx

from ..windows import Attributes, text, window
from .real import DTYPES
from .resampling import COORDINATES, ROUNDINGS

__all__ = ["AUDITED", "KNOWN", "LIMITS", "SINCE", "unknown_setting"]

AUDITED = 28
"""The last of ONNX's opsets whose operators were compared with the twin's."""

SINCE = {"BatchNormalization": 7, "Dropout": 7, "GroupNormalization": 21, "Hardmax": 13, "PRelu": 7, "Resize": 11}
"""Operators whose older versions compute something else, without an attribute that says so."""

_CONV = "auto_pad dilations group kernel_shape pads strides"
_POOL = "auto_pad ceil_mode kernel_shape pads strides"
_REDUCTION = "axes keepdims"
_ANY_REDUCTION = f"{_REDUCTION} noop_with_empty_axes"

KNOWN: Mapping[str, frozenset[str]] = {
    operator: frozenset(names.split())
    for operator, names in {
        "AveragePool": f"{_POOL} count_include_pad",
        "BatchNormalization": "epsilon momentum",
        "Bernoulli": "dtype seed",
        "Cast": "round_mode saturate to",  # the first two are for 8 bits and less
        "CastLike": "round_mode saturate",
        "Celu": "alpha",
        "Clip": "max min",
        "Concat": "axis",
        "ConstantOfShape": "value",
        "Conv": _CONV,
        "ConvInteger": _CONV,
        "DepthToSpace": "blocksize mode",
        "DequantizeLinear": "axis block_size output_dtype",
        "Dropout": "ratio seed",
        "Elu": "alpha",
        "Flatten": "axis",
        "Gather": "axis",
        "Gelu": "approximate",
        "Gemm": "alpha beta transA transB",
        "GroupNormalization": "epsilon num_groups",
        "HardSigmoid": "alpha beta",
        "Hardmax": "axis",
        "InstanceNormalization": "epsilon",
        "IsInf": "detect_negative detect_positive",
        "LRN": "alpha beta bias size",
        "LayerNormalization": "axis epsilon",
        "LeakyRelu": "alpha",
        "LogSoftmax": "axis",
        "MaxPool": f"{_POOL} dilations storage_order",  # the last one is for the second output
        "Mod": "fmod",
        "Pad": "mode pads value",
        "QGemm": "alpha transA transB",
        "QLinearAveragePool": f"{_POOL} count_include_pad",
        "QLinearConcat": "axis",
        "QLinearConv": _CONV,
        "QLinearLeakyRelu": "alpha",
        "QLinearSoftmax": "axis opset",
        "QuantizeLinear": "axis output_dtype saturate",  # the last one is for floats of 8 bits
        "RandomNormal": "dtype mean scale seed shape",
        "RandomNormalLike": "dtype mean scale seed",
        "RandomUniform": "dtype high low seed shape",
        "RandomUniformLike": "dtype high low seed",
        "ReduceL1": _REDUCTION,
        "ReduceL2": _REDUCTION,
        "ReduceLogSum": _REDUCTION,
        "ReduceLogSumExp": _REDUCTION,
        "ReduceMax": _ANY_REDUCTION,
        "ReduceMean": _ANY_REDUCTION,
        "ReduceMin": _ANY_REDUCTION,
        "ReduceProd": _ANY_REDUCTION,
        "ReduceSum": _ANY_REDUCTION,
        "ReduceSumSquare": _REDUCTION,
        "Reshape": "allowzero",
        "Resize": "coordinate_transformation_mode cubic_coeff_a mode nearest_mode",  # cubic_coeff_a is for mode cubic
        "Selu": "alpha gamma",
        "Shape": "end start",
        "Slice": "axes ends starts",
        "Softmax": "axis",
        "SpaceToDepth": "blocksize mode",
        "Split": "axis num_outputs split",
        "Squeeze": "axes",
        "Swish": "alpha",
        "ThresholdedRelu": "alpha",
        "Transpose": "perm",
        "Unsqueeze": "axes",
    }.items()
}


_MICROSOFT_DEFAULTS = {"channels_last": 0}
"""onnx has no schemas of com.microsoft."""


def unknown_setting(node: onnx.NodeProto, opset: int) -> str:
    """The attribute of a node that its operator does not know here, with its value; "" where there is none.

    Args:
        node: of an operator that the twin knows.
        opset: of ONNX's operators in the graph.
    """
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    schema = _schema(node, opset)
    if schema is not None and schema.since_version > AUDITED:
        return f"version {schema.since_version}"
    if opset < SINCE.get(node.op_type, 0):
        return f"opset {opset}"
    known = KNOWN.get(node.op_type, frozenset())
    defaults = {} if schema is None else schema.attributes
    for name, value in attributes.items():
        default = defaults[name].default_value if name in defaults else None
        plain = _value(default) if default is not None and default.name else _MICROSOFT_DEFAULTS.get(name)
        if name not in known and (plain is None or plain != value):
            return f"{name}={_shown(value)}"
    said = LIMITS[node.op_type](attributes) if node.op_type in LIMITS else ""
    return said or _missing(node)


def _schema(node: onnx.NodeProto, opset: int) -> Any:
    if node.domain not in ("", "ai.onnx"):
        return None
    if not onnx.defs.has(node.op_type, ""):
        return None
    try:
        return onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:  # ONNX Runtime makes and takes operators that the graph's opset does not have yet
        return onnx.defs.get_schema(node.op_type, "")


def _value(attribute: onnx.AttributeProto) -> Any:
    return onnx.helper.get_attribute_value(attribute)


def _shown(value: Any) -> str:
    text_of = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text_of if len(text_of) <= 40 else f"{text_of[:40]}..."


def _missing(node: onnx.NodeProto) -> str:
    """A quantized result whose type only its zero point says: the input behind its scale."""
    scale = _RESULT_SCALE.get(node.op_type)
    if scale is None or (node.op_type == "QGemm" and not "".join(node.input[scale : scale + 1])):  # a float result
        return ""
    return "" if "".join(node.input[scale + 1 : scale + 2]) else "no zero point of the result"


_RESULT_SCALE = {
    "QGemm": 7,
    **dict.fromkeys(("QLinearAdd", "QLinearMul"), 6),
    **dict.fromkeys(("QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearLeakyRelu"), 3),
    **dict.fromkeys(("QLinearSigmoid", "QLinearSoftmax"), 3),
}


def _kind(attributes: Attributes) -> str:
    return "" if attributes["to"] in DTYPES else f"to={_type_name(attributes['to'])}"


def _dtype(attributes: Attributes) -> str:
    kind = attributes.get("dtype", 1)
    return "" if kind in DTYPES else f"dtype={_type_name(kind)}"


def _quantized(attributes: Attributes) -> str:
    kind = attributes.get("output_dtype", 0)
    known = {0, *(getattr(onnx.TensorProto, name) for name in ("UINT4", "INT4", "UINT8", "INT8", "UINT16", "INT16"))}
    return "" if kind in known else f"output_dtype={_type_name(kind)}"


def _dequantized(attributes: Attributes) -> str:
    kind = attributes.get("output_dtype", 0)
    return "" if kind in (0, onnx.TensorProto.FLOAT) else f"output_dtype={_type_name(kind)}"


def _type_name(kind: int) -> str:
    return str(onnx.TensorProto.DataType.Name(kind)) if kind in onnx.TensorProto.DataType.values() else str(kind)


def _pool(attributes: Attributes) -> str:
    rank = len(attributes["kernel_shape"])
    if not 1 <= rank <= 3:
        return f"kernel_shape={list(attributes['kernel_shape'])}"
    if text(attributes, "auto_pad", "NOTSET") != "NOTSET":
        return ""
    settings = window(attributes, (0,) * rank)
    half = [((k - 1) * d + 1) // 2 for k, d in zip(settings.kernel, settings.dilations, strict=True)]
    beyond = any(pad > limit for pad, limit in zip(settings.first, half, strict=True))  # torch's limit
    if settings.first == settings.last and beyond:
        return f"pads={list(settings.pads)} beyond half the kernel"
    return ""


def _lrn(attributes: Attributes) -> str:
    return "" if attributes["size"] % 2 else f"size={attributes['size']}"


def _pad(attributes: Attributes) -> str:
    mode = text(attributes, "mode", "constant")
    return "" if mode in ("constant", "edge", "reflect", "wrap") else f"mode={mode}"


def _resize(attributes: Attributes) -> str:
    known = {
        "mode": ("nearest", ["nearest"]),
        "coordinate_transformation_mode": ("half_pixel", COORDINATES),
        "nearest_mode": ("round_prefer_floor", ROUNDINGS),
    }
    found = {name: text(attributes, name, default) for name, (default, _) in known.items()}
    return next((f"{name}={value}" for name, value in found.items() if value not in known[name][1]), "")


LIMITS: Mapping[str, Callable[[Attributes], str]] = {
    "AveragePool": _pool,
    "Bernoulli": _dtype,
    "Cast": _kind,
    "DequantizeLinear": _dequantized,
    "LRN": _lrn,
    "MaxPool": _pool,
    "Pad": _pad,
    "QLinearAveragePool": _pool,
    "QuantizeLinear": _quantized,
    "Resize": _resize,
    **dict.fromkeys(("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), _dtype),
}
"""Operator -> the value of an attribute that is not implemented, "" where all are."""
