"""The twin's operators that are flat between steps, and those that choose: ONNX's values, gradients of `surrogates.py`.

Without a gradient to follow, integers and truths are integer and bool tensors. Where one is followed, a truth is a
float32 tensor of 0 and 1, and logic is arithmetic:

    not a = 1 - a,    a and b = a b,    a or b = a + b - a b,    a xor b = a + b - 2 a b

Signature as in `supported.py`: (attributes, *inputs) -> value; a missing optional input is None.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..surrogates import choose, has_path, in_units, saw, step, through, truth
from ..values.scaled import Value, dense
from ..windows import Attributes
from .real import Operator

__all__ = [
    "clear_bit",
    "compare",
    "equal",
    "hardmax",
    "is_inf",
    "is_nan",
    "logic",
    "modulo",
    "rounded",
    "sign",
    "where",
]


def rounded(function: Callable[[Tensor], Tensor]) -> Operator:
    """Floor, Ceil, Round: the derivative is one."""

    def operator(attributes: Attributes, x: Value) -> Value:
        a = dense(x)
        return through(a, function(a.detach())) if has_path(a) else function(a)

    return operator


def sign(attributes: Attributes, x: Value) -> Value:
    """Sign, which rises by 2 at 0."""
    a = dense(x)
    if not has_path(a):
        return a.sign()
    return through(2 * step(a, a > 0) - 1, a.detach().sign())


def compare(function: Callable[[Tensor, Tensor], Tensor], direction: int) -> Operator:
    """Less and its kin; `direction` is 1 where the answer turns true as a - b rises, else -1."""

    def operator(attributes: Attributes, x: Value, y: Value) -> Value:
        a, b = dense(x), dense(y)
        holds = function(a.detach(), b.detach())
        return step(direction * (a - b), holds) if has_path(a, b) else holds

    return operator


def equal(attributes: Attributes, x: Value, y: Value) -> Value:
    """Equal: true where -|a - b| reaches 0."""
    a, b = dense(x), dense(y)
    holds = a.detach() == b.detach()
    return step(-(_number(a) - _number(b)).abs(), holds) if has_path(a, b) else holds


def clear_bit(attributes: Attributes, x: Value) -> Value:
    """Not."""
    a = dense(x)
    return 1 - a if has_path(a) else ~truth(a)


def logic(function: Callable[[Tensor, Tensor], Tensor], arithmetic: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """And, Or, Xor, as functions of bools and of zeros and ones."""

    def operator(attributes: Attributes, x: Value, y: Value) -> Value:
        a, b = dense(x), dense(y)
        return arithmetic(_number(a), _number(b)) if has_path(a, b) else function(truth(a), truth(b))

    return operator


def where(attributes: Attributes, condition: Value, x: Value, y: Value) -> Value:
    """Where."""
    return choose(dense(condition), dense(x), dense(y))


def hardmax(attributes: Attributes, x: Value) -> Value:
    """Hardmax: 1 at the first of the largest numbers, with the gradient of a softmax as wide as the image."""
    a, axis = dense(x), attributes.get("axis", -1)
    first = torch.zeros_like(a).scatter(axis, a.detach().argmax(axis, keepdim=True), 1.0)
    return through(torch.softmax(in_units(a), axis), first) if has_path(a) else first


def modulo(attributes: Attributes, x: Value, y: Value) -> Value:
    """Mod: with `fmod` the sign is x's, without it y's."""
    return saw(torch.fmod if attributes.get("fmod", 0) else torch.remainder, dense(x), dense(y))


def is_nan(attributes: Attributes, x: Value) -> Value:
    """IsNaN; nothing passes it."""
    return dense(x).detach().isnan()


def is_inf(attributes: Attributes, x: Value) -> Value:
    """IsInf, of the signs that are asked for; nothing passes it."""
    a = dense(x).detach()
    up, down = attributes.get("detect_positive", 1), attributes.get("detect_negative", 1)
    return (a.isposinf() & bool(up)) | (a.isneginf() & bool(down))


def _number(a: Tensor) -> Tensor:
    return a.float() if a.dtype == torch.bool else a
