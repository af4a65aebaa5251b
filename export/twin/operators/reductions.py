"""The twin's reductions: sums, means, extremes and norms over axes.

Without axes all are meant, or with `noop_with_empty_axes` none. Integers keep their type: a mean is cut toward zero.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..nodes import ELEMENT_TYPE, INTEGERS
from ..values.scaled import Value, dense
from ..windows import Attributes
from .arithmetic import divide
from .real import Operator
from .shape import axes_of

__all__ = ["l1", "l2", "log_sum", "log_sum_exp", "product", "reduce", "reduce_mean", "sum_square"]

Reduction = Callable[..., Tensor]
"""(a, axes, keepdim) -> Tensor."""


def reduce(function: Reduction) -> Operator:
    """The operator of a reduction."""

    def operator(attributes: Attributes, x: Value, axes: Value | None = None) -> Value:
        a, where = dense(x), _where(attributes, x, axes)
        if where is None:
            return a
        result = function(a, where, keepdim=bool(attributes.get("keepdims", 1)))
        return result.to(a.dtype)  # torch sums integers in 64 bits

    return operator


def reduce_mean(attributes: Attributes, x: Value, axes: Value | None = None) -> Value:
    """ReduceMean."""
    a, where = dense(x), _where(attributes, x, axes)
    if where is None:
        return a
    keep = bool(attributes.get("keepdims", 1))
    if a.is_floating_point() and attributes.get(ELEMENT_TYPE) not in INTEGERS:
        return a.mean(where, keepdim=keep)
    count = torch.tensor(math.prod(a.shape[axis] for axis in where))
    return dense(divide(attributes, a.sum(where, keepdim=keep), count)).to(a.dtype)


def product(a: Tensor, axes: tuple[int, ...], *, keepdim: bool) -> Tensor:
    """torch multiplies along one axis at a time."""
    result = functools.reduce(lambda b, axis: b.prod(axis, keepdim=True), axes, a)
    return result if keepdim else result.squeeze(axes)


def l1(a: Tensor, axes: tuple[int, ...], *, keepdim: bool) -> Tensor:
    return a.abs().sum(axes, keepdim=keepdim)


def l2(a: Tensor, axes: tuple[int, ...], *, keepdim: bool) -> Tensor:
    y: Tensor = torch.linalg.vector_norm(a, dim=axes, keepdim=keepdim)  # whose gradient at zero is zero
    return y


def sum_square(a: Tensor, axes: tuple[int, ...], *, keepdim: bool) -> Tensor:
    return a.square().sum(axes, keepdim=keepdim)


def log_sum(a: Tensor, axes: tuple[int, ...], *, keepdim: bool) -> Tensor:
    return a.sum(axes, keepdim=keepdim).log()


def log_sum_exp(a: Tensor, axes: tuple[int, ...], *, keepdim: bool) -> Tensor:
    return a.logsumexp(axes, keepdim=keepdim)


def _where(attributes: Attributes, x: Value, axes: Value | None) -> tuple[int, ...] | None:
    """The axes to reduce, None for no reduction at all."""
    rank = dense(x).dim()
    given = axes_of(axes, attributes)
    if given:
        return tuple(axis % rank for axis in given)
    return None if attributes.get("noop_with_empty_axes", 0) else tuple(range(rank))
