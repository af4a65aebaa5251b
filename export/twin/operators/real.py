"""ONNX operator -> function of the twin. Signature: (attributes, *inputs) -> value; a missing optional input is None.

Operators that only move or compare numbers act on the integers of a `Scaled` value (`shape.py`), those that integer
kernels exist for on integers and scales (`integer.py`), the others on real numbers: they stay float operators in the
engine too. `SEVERAL` are the operators that give a tuple.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..surrogates import has_path, step, through
from ..values.scaled import Averages, Scaled, Sum, Value, dense
from ..windows import Attributes, pad_window, text, window
from .integer import spatial

__all__ = [
    "DTYPES",
    "FLATTENED",
    "Operator",
    "average_pool",
    "batch_norm",
    "cast",
    "clip",
    "dropout",
    "folded",
    "gelu",
    "hard_sigmoid",
    "layer_norm",
    "real",
    "reduce",
    "relu",
    "softmax",
]

Operator = Callable[..., Value | tuple[Value, ...]]

FLATTENED = "flattened"
"""Attribute that the twin gives a Softmax or LogSoftmax that runs over all dimensions from `axis` on: opset 12's."""


def relu(attributes: Attributes, x: Value) -> Value:
    if isinstance(x, Scaled):
        return Scaled(x.n.relu(), x.s, x.bound)
    return replace(x, rectified=True) if isinstance(x, Sum) else dense(x).relu()


def clip(attributes: Attributes, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    smallest = attributes.get("min") if low is None else float(dense(low))
    largest = attributes.get("max") if high is None else float(dense(high))
    if isinstance(x, Scaled) and x.zero is None:  # an accumulator: an integer kernel's saturation makes most clips
        ends = [None if end is None else end / x.s for end in (smallest, largest)]
        return Scaled(x.n.clamp(*ends), x.s, x.bound)
    return dense(x) if smallest is largest is None else dense(x).clamp(smallest, largest)


def average_pool(attributes: Attributes, x: Value) -> Value:
    """On real numbers, summed in the order of rows: as QLinearAveragePool does."""
    y = _averages(attributes, dense(x))
    return Averages(y) if isinstance(x, Scaled) and x.zero is not None else y


def _averages(attributes: Attributes, a: Tensor) -> Tensor:
    settings = window(attributes, spatial(a))
    include, ceil = bool(attributes.get("count_include_pad", 0)), bool(attributes.get("ceil_mode", 0))
    top, left, bottom, right = settings.pads
    if include or (top, left) == (bottom, right):
        a, pads = pad_window(a, settings, 0.0)
        return F.avg_pool2d(a, settings.kernel, settings.strides, pads, ceil, include)
    sums = [
        F.avg_pool2d(
            F.pad(values, [left, right, top, bottom]), settings.kernel, settings.strides, 0, ceil, divisor_override=1
        )
        for values in (a, torch.ones_like(a))
    ]
    return sums[0] / sums[1]


def reduce(function: Callable[..., Tensor]) -> Operator:
    def operator(attributes: Attributes, x: Value, axes: Value | None = None) -> Value:
        a = dense(x)
        where = attributes.get("axes") if axes is None else [int(axis) for axis in dense(axes).reshape(-1)]
        if not where and attributes.get("noop_with_empty_axes", 0):
            return a
        return function(a, tuple(where or range(a.dim())), keepdim=bool(attributes.get("keepdims", 1)))

    return operator


_INTEGERS = {2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64}
DTYPES = {**_INTEGERS, 1: torch.float32, 9: torch.bool, 10: torch.float16, 11: torch.float64}


def cast(attributes: Attributes, x: Value) -> Value:
    kind, a = attributes["to"], dense(x)
    if not has_path(a) or kind not in (9, *_INTEGERS):
        return a.to(DTYPES[kind])
    if kind == 9:
        return step(a.abs(), a.detach() != 0)
    # an integer that a gradient flows through is an integer-valued float, wide enough for it
    wide = torch.float32 if DTYPES[kind].itemsize == 1 else torch.float64
    return through(a, a.detach().to(DTYPES[kind]).to(wide))


def softmax(function: Callable[[Tensor, int], Tensor]) -> Operator:
    def operator(attributes: Attributes, x: Value) -> Value:
        a, axis = dense(x), attributes.get("axis", -1)
        return function(a.flatten(axis), -1).reshape(a.shape) if attributes.get(FLATTENED) else function(a, axis)

    return operator


def dropout(attributes: Attributes, x: Value, *settings: Value | None) -> tuple[Value, ...]:
    """At inference the identity, with a mask that keeps all."""
    return x, torch.ones_like(x.n if isinstance(x, Scaled) else dense(x), dtype=torch.bool)


def batch_norm(attributes: Attributes, x: Value, *parameters: Value) -> Value:
    gamma, beta, mean, var = (dense(parameter) for parameter in parameters)
    return F.batch_norm(dense(x), mean, var, gamma, beta, False, 0.0, attributes.get("epsilon", 1e-5))


def layer_norm(attributes: Attributes, x: Value, gamma: Value, beta: Value | None = None) -> Value:
    a = dense(x)
    shape = a.shape[attributes.get("axis", -1) % a.dim() :]
    return F.layer_norm(a, shape, dense(gamma), None if beta is None else dense(beta), attributes.get("epsilon", 1e-5))


def hard_sigmoid(attributes: Attributes, x: Value) -> Value:
    y: Tensor = dense(x) * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5)
    return y.clamp(0, 1)


def gelu(attributes: Attributes, x: Value) -> Value:
    return F.gelu(dense(x), approximate=text(attributes, "approximate", "none"))


def real(function: Callable[..., Tensor]) -> Operator:
    """An elementwise operator without attributes, on real numbers."""
    return lambda attributes, *inputs: function(*(dense(x) for x in inputs))


def folded(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """An operator of one or more inputs: function(function(first, second), third) and so on."""
    return lambda attributes, *inputs: functools.reduce(function, [dense(x) for x in inputs])
