"""The twin's arithmetic on two tensors, exact on integers as ONNX defines it: a quotient is cut toward zero, sums and
products wrap around at the ends of their type.

    n mod 2^bits,  into [low, high]

Integers that depend on the image are floats that hold integers, since gradients follow floats only
(`ELEMENT_TYPE` says what the graph calls them). The gradient is that of the same operator on real numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..nodes import ELEMENT_TYPE, INTEGERS
from ..surrogates import through
from ..values.scaled import Product, Sum, Value, dense, is_dequantized
from ..windows import Attributes

__all__ = ["add", "divide", "multiply", "negate", "power", "subtract", "wrapping"]


def add(attributes: Attributes, a: Value, b: Value) -> Value:
    """Add; of two dequantized tensors a `Sum`, which the operator behind it computes."""
    return Sum(a, b) if is_dequantized(a) and is_dequantized(b) else _add(attributes, a, b)


def multiply(attributes: Attributes, a: Value, b: Value) -> Value:
    """Mul; of two dequantized tensors a `Product`."""
    return Product(a, b) if is_dequantized(a) and is_dequantized(b) else _multiply(attributes, a, b)


def divide(attributes: Attributes, a: Value, b: Value) -> Value:
    """Div; of integers the quotient cut toward zero."""
    x, y = dense(a), dense(b)
    if attributes.get(ELEMENT_TYPE) not in INTEGERS and (x.is_floating_point() or y.is_floating_point()):
        return x / y
    if not x.is_floating_point() and not y.is_floating_point():
        # the smallest integer by -1 is no integer of its type: the processor would stop the program
        backwards = y == -1
        return torch.where(backwards, -x, torch.div(x, torch.where(backwards, 1, y), rounding_mode="trunc"))
    quotient = x / y
    with torch.no_grad():
        cut = torch.div(x.double(), y.double(), rounding_mode="trunc").to(quotient.dtype)
    return through(quotient, cut)


def power(attributes: Attributes, a: Value, b: Value) -> Value:
    """Pow, in the type of the base."""
    x, exponent = dense(a), dense(b)
    if not x.is_floating_point():
        return torch.pow(x.double(), exponent.double()).to(x.dtype)
    return torch.pow(x, exponent).to(x.dtype)


def wrapping(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An operator whose result wraps around where it is an integer."""

    def operator(attributes: Attributes, *inputs: Value) -> Tensor:
        result = function(*(dense(x) for x in inputs))
        limits = INTEGERS.get(attributes.get(ELEMENT_TYPE, 0))
        if limits is None or not result.is_floating_point():  # torch's integers wrap around by themselves
            return result
        low, count = map(float, limits)
        return result - (count * ((result.detach() - low) / count).floor())

    return operator


_add, _multiply = wrapping(torch.add), wrapping(torch.mul)
subtract, negate = wrapping(torch.sub), wrapping(torch.neg)
