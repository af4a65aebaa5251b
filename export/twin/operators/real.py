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

from ....runtime.errors import UnsupportedOperatorError
from ...integer_types import UINT8
from ..nodes import ELEMENT_TYPE, INTEGERS, RESULT_TYPE
from ..surrogates import has_path, step, through
from ..values.levels import Levels, clamped
from ..values.scaled import Scaled, Sum, Value, dense
from ..windows import Attributes, text

__all__ = [
    "DTYPES",
    "FLATTENED",
    "Operator",
    "cast",
    "cast_like",
    "clip",
    "dropout",
    "folded",
    "gelu",
    "hard_sigmoid",
    "mean",
    "real",
    "relu",
    "selu",
    "softmax",
    "square_root",
    "swish",
    "thresholded_relu",
]

Operator = Callable[..., Value | tuple[Value, ...]]

FLATTENED = "flattened"
"""Attribute that the twin gives a Softmax or LogSoftmax that runs over all dimensions from `axis` on: opset 12's."""


def relu(attributes: Attributes, x: Value) -> Value:
    if isinstance(x, Scaled):
        return Scaled(x.n.relu(), x.s, x.bound)
    return replace(x, rectified=True) if isinstance(x, Sum) else dense(x).relu()


def clip(attributes: Attributes, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    """Clip: min(max(x, low), high)."""
    smallest = attributes.get("min") if low is None else dense(low).item()
    largest = attributes.get("max") if high is None else dense(high).item()
    if smallest is largest is None:
        return x
    if isinstance(x, Scaled) and x.zero is None:  # an accumulator: an integer kernel's saturation makes most clips
        ends = [None if end is None else end / x.s for end in (smallest, largest)]
        return Scaled(x.n.clamp(*ends), x.s, x.bound)
    if isinstance(x, Levels):
        lowest = UINT8.low if smallest is None else int(smallest)
        return clamped(x, lowest, UINT8.high if largest is None else int(largest))
    return dense(x).clamp(smallest, largest)


DTYPES = {
    1: torch.float32,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    2: torch.uint8,
    3: torch.int8,
    6: torch.int32,
    7: torch.int64,
    4: torch.uint16,
    5: torch.int16,
    12: torch.uint32,
    13: torch.uint64,
}


def cast(attributes: Attributes, x: Value) -> Value:
    """Cast: floats are cut toward zero, integers keep their last bits."""
    return _cast(dense(x), DTYPES[attributes["to"]], attributes)


def cast_like(attributes: Attributes, x: Value, like: Value) -> Value:
    """CastLike."""
    return _cast(dense(x), DTYPES[attributes[RESULT_TYPE]], attributes)


def _cast(a: Tensor, kind: torch.dtype, attributes: Attributes) -> Tensor:
    if kind.is_floating_point:
        return a.to(kind)
    if not has_path(a):
        return _cut(a, kind, attributes)
    if kind == torch.bool:
        return step(a.abs(), a.detach() != 0)
    # an integer that a gradient flows through is an integer-valued float, wide enough for it
    return through(a, _cut(a.detach(), kind, attributes).to(torch.float32 if kind.itemsize == 1 else torch.float64))


def _cut(a: Tensor, kind: torch.dtype, attributes: Attributes) -> Tensor:
    """By way of int64 between integers, of which `a` may be one in the form of floats."""
    return (a.long() if attributes.get(ELEMENT_TYPE) in INTEGERS and kind != torch.bool else a).to(kind)


def softmax(function: Callable[[Tensor, int], Tensor]) -> Operator:
    def operator(attributes: Attributes, x: Value) -> Value:
        a, axis = dense(x), attributes.get("axis", -1)
        return function(a.flatten(axis), -1).reshape(a.shape) if attributes.get(FLATTENED) else function(a, axis)

    return operator


def dropout(
    attributes: Attributes, x: Value, ratio: Value | None = None, training: Value | None = None
) -> tuple[Value, ...]:
    """At inference the identity, with a mask that keeps all."""
    if training is not None and dense(training).any():
        raise UnsupportedOperatorError("its setting", expected="training_mode false", got="training_mode true")
    return x, torch.ones_like(x.n if isinstance(x, Scaled) else dense(x), dtype=torch.bool)


def hard_sigmoid(attributes: Attributes, x: Value) -> Value:
    y: Tensor = dense(x) * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5)
    return y.clamp(0, 1)


def mean(attributes: Attributes, *inputs: Value) -> Value:
    """Mean, of any number of tensors."""
    return functools.reduce(torch.add, [dense(x) for x in inputs]) / len(inputs)


def selu(attributes: Attributes, x: Value) -> Value:
    """Selu (Klambauer et al. 2017, equation 2)."""
    alpha, gamma = (
        attributes.get("alpha", 1.67326319217681884765625),
        attributes.get("gamma", 1.05070102214813232421875),
    )
    y: Tensor = gamma * F.elu(dense(x), alpha)
    return y


def swish(attributes: Attributes, x: Value) -> Value:
    """Swish: x sigmoid(alpha x)."""
    a = dense(x)
    y: Tensor = a * torch.sigmoid(attributes.get("alpha", 1.0) * a)
    return y


def thresholded_relu(attributes: Attributes, x: Value) -> Value:
    """ThresholdedRelu: x above alpha, else 0."""
    a = dense(x)
    return torch.where(a > attributes.get("alpha", 1.0), a, torch.zeros((), dtype=a.dtype, device=a.device))


def gelu(attributes: Attributes, x: Value) -> Value:
    return F.gelu(dense(x), approximate=text(attributes, "approximate", "none"))


def square_root(x: Tensor) -> Tensor:
    """Correctly rounded, as engines round it: torch's own root of float32 may be off by a last bit.

    A root in float64 rounds to the right float32 even if its own last bit is off: the root of a number of 24 bits is
    at least 2^-51 of itself away from the middle between two such numbers.
    """
    return x.double().sqrt().to(x.dtype)


def real(function: Callable[..., Tensor]) -> Operator:
    """An elementwise operator without attributes, on real numbers."""
    return lambda attributes, *inputs: function(*(dense(x) for x in inputs))


def folded(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """An operator of one or more inputs: function(function(first, second), third) and so on."""
    return lambda attributes, *inputs: functools.reduce(function, [dense(x) for x in inputs])
