"""Values of the twin: a float tensor, or integers with the scale that they stand for.

    Scaled(n, s) is the real tensor s * n, n integer-valued in float32.

float32 holds every integer below 2^24, so sums of n are exact as long as they stay below: `bound` is the largest
magnitude that n can have, from which each operator proves that they do or computes in float64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["EXACT", "Scaled", "Value", "dense", "requantize", "round_ste"]

EXACT = 2.0**24
"""Integers up to here are exact in float32."""


class Scaled(NamedTuple):
    """s * n.

    Attributes:
        n: integer-valued float32 tensor.
        s: float32 scale, of one element or shaped so that it broadcasts with n.
        bound: no element of n is larger in magnitude.
    """

    n: Tensor
    s: Tensor
    bound: float


Value = Tensor | Scaled


def dense(value: Value) -> Tensor:
    """The real numbers, as a float32 tensor."""
    return value.n * value.s if isinstance(value, Scaled) else value


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def round_ste(x: Tensor) -> Tensor:
    """Round half to even; derivative one (Bengio et al. 2013, straight-through estimator)."""
    rounded: Tensor = _Round.apply(x)  # type: ignore[no-untyped-call]
    return rounded


class _Requantize(torch.autograd.Function):
    """q = clamp(round(x) + z, low, high); derivative one inside the range, zero outside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, z: float, low: float, high: float) -> Tensor:
        q = x.round() if z == 0 else x.round().add_(z)
        ctx.save_for_backward((q >= low) & (q <= high))
        return q.clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None


def requantize(x: Tensor, z: float, low: float, high: float) -> Tensor:
    """clamp(round_half_even(x) + z, low, high) with the straight-through gradient of a clamp."""
    q: Tensor = _Requantize.apply(x, z, low, high)  # type: ignore[no-untyped-call]
    return q
