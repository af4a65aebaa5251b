"""The operators that the twin knows, by ONNX's name."""

from __future__ import annotations

import onnx
import torch
import torch.nn.functional as F

from ..values.scaled import dense
from ..windows import Attributes, text, window
from . import shape as shapes
from .integer import add, conv, dequantize, gemm, global_average_pool, matmul, multiply, quantize
from .random import bernoulli, normal, random, random_like, uniform
from .real import (
    DTYPES,
    Operator,
    average_pool,
    batch_norm,
    cast,
    clip,
    dropout,
    folded,
    gelu,
    hard_sigmoid,
    layer_norm,
    real,
    reduce,
    relu,
    softmax,
)
from .stepwise import clear_bit, compare, equal, is_inf, is_nan, logic, modulo, rounded, sign, where

__all__ = ["OPERATORS", "SEVERAL", "unknown_setting"]

OPERATORS: dict[str, Operator] = {
    "Abs": real(torch.abs),
    "Add": add,
    "And": logic(torch.logical_and, lambda a, b: a * b),
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Bernoulli": bernoulli,
    "Cast": cast,
    "Ceil": rounded(torch.ceil),
    "Clip": clip,
    "Concat": shapes.concat,
    "Conv": conv,
    "DequantizeLinear": dequantize,
    "Div": real(torch.div),
    "Dropout": dropout,
    "Elu": lambda attributes, x: F.elu(dense(x), attributes.get("alpha", 1.0)),
    "Equal": equal,
    "Erf": real(torch.erf),
    "Exp": real(torch.exp),
    "Flatten": shapes.flatten,
    "Floor": rounded(torch.floor),
    "Gather": shapes.gather,
    "Gelu": gelu,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": shapes.global_max_pool,
    "Greater": compare(torch.gt, 1),
    "GreaterOrEqual": compare(torch.ge, 1),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": real(F.hardswish),
    "Identity": lambda attributes, x: x,
    "IsInf": is_inf,
    "IsNaN": is_nan,
    "LayerNormalization": layer_norm,
    "LeakyRelu": lambda attributes, x: F.leaky_relu(dense(x), attributes.get("alpha", 0.01)),
    "Less": compare(torch.lt, -1),
    "LessOrEqual": compare(torch.le, -1),
    "LogSoftmax": softmax(torch.log_softmax),
    "MatMul": matmul,
    "Max": folded(torch.maximum),
    "MaxPool": shapes.max_pool,
    "Min": folded(torch.minimum),
    "Mod": modulo,
    "Mul": multiply,
    "Neg": real(torch.neg),
    "Not": clear_bit,
    "Or": logic(torch.logical_or, lambda a, b: a + b - a * b),
    "PRelu": real(lambda x, slope: torch.where(x >= 0, x, slope * x)),
    "Pad": shapes.pad,
    "Pow": real(torch.pow),
    "QuantizeLinear": quantize,
    "RandomNormal": random(normal),
    "RandomNormalLike": random_like(normal),
    "RandomUniform": random(uniform),
    "RandomUniformLike": random_like(uniform),
    "ReduceMean": reduce(torch.mean),
    "ReduceSum": reduce(torch.sum),
    "Relu": relu,
    "Reshape": shapes.reshape,
    "Round": rounded(torch.round),
    "Shape": shapes.shape,
    "Sigmoid": real(torch.sigmoid),
    "Sign": sign,
    "Slice": shapes.slice_,
    "Softmax": softmax(torch.softmax),
    "Split": shapes.split,
    "Sqrt": real(torch.sqrt),
    "Squeeze": shapes.squeeze,
    "Sub": real(torch.sub),
    "Tanh": real(torch.tanh),
    "Transpose": shapes.transpose,
    "Unsqueeze": shapes.unsqueeze,
    "Where": where,
    "Xor": logic(torch.logical_xor, lambda a, b: a + b - 2 * a * b),
}


SEVERAL = frozenset({"Dropout", "Split"})


def unknown_setting(op_type: str, attributes: Attributes) -> str:
    """The attribute of a node that its operator does not know here, with its value; "" where there is none."""
    if len(attributes.get("kernel_shape", (0, 0))) != 2:
        return f"kernel_shape {list(attributes['kernel_shape'])}"
    if op_type == "AveragePool" and any(step != 1 for step in attributes.get("dilations", ())):
        return f"dilations {list(attributes['dilations'])}"
    if op_type in ("AveragePool", "MaxPool") and text(attributes, "auto_pad", "NOTSET") == "NOTSET":
        kernel, _, dilations, pads = window(attributes, (0, 0))
        half = [((k - 1) * d + 1) // 2 for k, d in zip(kernel, dilations, strict=True)]
        if pads[:2] == pads[2:] and (pads[0] > half[0] or pads[1] > half[1]):  # torch's limit
            return f"pads {list(pads)} beyond half the kernel"
    if op_type == "Cast" and attributes["to"] not in DTYPES:
        return f"to={onnx.TensorProto.DataType.Name(attributes['to'])}"
    if op_type == "Pad" and text(attributes, "mode", "constant") == "wrap":
        return "mode wrap"
    return ""
