"""Gradients of functions that have none: steps, choices and rounding.

    forward                          backward
    y = floor(x), round(x), int(x)   dy/dx := 1                                (straight-through, Bengio et al. 2013)
    y = 1[d > 0]                     dy/dd := s / (s + |d|)^2                  (SuperSpike, Zenke & Ganguli 2018, eq. 5)
    y = c ? a : b                    dy/dc := a - b                            where c is a step that a gradient passes

The forward pass is always the true function, bit for bit. s is the mean of |d| over an image, so that the slope does
not depend on the units of d, and reaches every image however far it is from the step.

A step that a gradient passes is no bool but a float32 tensor of 0 and 1: `truth` tells the two apart. An integer that a
gradient passes is an integer-valued float64 tensor.

A choice between two values that have gradients of their own keeps these alone, as torch.where does. Inside `smoothing`
the gradient of its condition joins them, and other functions that saturate get a slope where they have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from ...runtime.shapes import Float, Shaped

__all__ = ["choose", "has_path", "is_smooth", "smoothing", "step", "through", "truth"]

_SMOOTH: ContextVar[bool] = ContextVar("smooth", default=False)


def is_smooth() -> bool:
    """Whether a forward pass now is inside `smoothing`."""
    return _SMOOTH.get()


@contextmanager
def smoothing() -> Iterator[None]:
    """Forward passes in here have the gradients of a smoother function near the true one, wherever that has none."""
    token = _SMOOTH.set(True)
    try:
        yield
    finally:
        _SMOOTH.reset(token)


def has_path(*tensors: Tensor) -> bool:
    """Whether a gradient is followed through one of these now."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.dtype = x.dtype
        return y.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].to(ctx.dtype), None


def through(x: Float[Tensor, " *shape"], y: Float[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
    """`y`, with the gradient of `x`."""
    passed: Tensor = _Through.apply(x, y.detach())  # type: ignore[no-untyped-call]
    return passed


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, difference: Tensor, holds: Tensor) -> Tensor:
        ctx.save_for_backward(difference)
        return holds.to(torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        away = difference.abs().nan_to_num()
        inner = tuple(range(1, away.dim()))
        width = (away.mean(inner, keepdim=True) if inner else away).clamp(min=torch.finfo(torch.float32).tiny ** 0.25)
        return gradients[0] * (width / (width + away) ** 2).to(difference.dtype), None


def step(difference: Float[Tensor, " *shape"], holds: Shaped[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
    """A comparison that a gradient passes: 1 where it `holds`, 0 elsewhere; it rises with `difference`.

    Args:
        difference: 0 at the step. The first dimension counts images.
        holds: bool, or 0 and 1: the true answer.
    """
    stepped: Tensor = _Step.apply(difference, holds.detach())  # type: ignore[no-untyped-call]
    return stepped


def truth(condition: Shaped[Tensor, " *shape"]) -> Shaped[Tensor, " *shape"]:
    """The bool of a condition, be it one or a step."""
    return condition if condition.dtype == torch.bool else condition.detach() != 0


class _Condition(torch.autograd.Function):
    """`chosen`, whose gradient reaches the condition through the difference of what it chose from."""

    @staticmethod
    def forward(ctx: Any, chosen: Tensor, condition: Tensor, difference: Tensor) -> Tensor:
        ctx.save_for_backward(difference)
        ctx.shape, ctx.dtype = condition.shape, condition.dtype
        return chosen.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (difference,) = ctx.saved_tensors
        found = (gradients[0] * difference).to(ctx.dtype)
        return gradients[0], found.sum_to_size(ctx.shape), None


def choose(
    condition: Shaped[Tensor, " ..."], a: Shaped[Tensor, " ..."], b: Shaped[Tensor, " ..."]
) -> Shaped[Tensor, " ..."]:
    """`a` where the condition holds, else `b`; see the module for what passes the condition."""
    chosen = torch.where(truth(condition), a, b)
    if not has_path(condition) or (has_path(a, b) and not is_smooth()):
        return chosen
    if not chosen.is_floating_point():
        chosen = chosen.to(torch.float32 if chosen.dtype == torch.bool else torch.float64)
    difference = (a.detach().to(chosen.dtype) - b.detach().to(chosen.dtype)).nan_to_num(0.0, 0.0, 0.0)
    passed: Tensor = _Condition.apply(chosen, condition, difference)  # type: ignore[no-untyped-call]
    return passed
