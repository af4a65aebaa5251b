"""Gradients of functions that have none: steps, choices and rounding.

    forward                          backward
    y = floor(x), round(x), int(x)   dy/dx := 1                                (straight-through, Bengio et al. 2013)
    y = 1[d > 0]                     dy/dd := s / (s + |d|)^2                  (SuperSpike, Zenke & Ganguli 2018, eq. 5)
    y = c ? a : b                    dy/dc := a - b                            where c is a step that a gradient passes

The forward pass is always the true function, bit for bit. s is the mean of |d| over an image, so that the slope does
not depend on the units of d, and reaches every image however far it is from the step.

A step that a gradient passes is no bool but a float32 tensor of 0 and 1: `truth` tells the two apart. An integer that a
gradient passes is an integer-valued float64 tensor.

A choice between two values that have gradients of their own keeps these alone, as torch.where does. `smoothing` goes
further, for attacks on graphs that hide their gradients. Backward, every condition passes its gradient, what saturates
is followed as if its input were of size one, and the saw x mod b is taken for its mean. With "both", the forward pass
is that of the smooth function too: x for floor(x), (1 + d / (s + |d|)) / 2 for a step, c a + (1 - c) b for a choice.
That is another network, near the true one, whose loss has no plateaus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch import Tensor

from ...runtime.shapes import Float, Shaped

__all__ = ["Passes", "choose", "gentle", "has_path", "in_units", "saw", "smoothing", "step", "through", "truth"]

Passes = Literal["backward", "both"]

_SMOOTH: ContextVar[Passes | None] = ContextVar("smooth", default=None)


@contextmanager
def smoothing(passes: Passes) -> Iterator[None]:
    """Forward passes with a gradient to follow are those of a smoother network in here; see the module.

    Args:
        passes: "backward" changes gradients only, "both" the values too.
    """
    token = _SMOOTH.set(passes)
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
    """`y`, with the gradient of `x`; `x` itself where both passes are smooth."""
    if _SMOOTH.get() == "both":
        return x.to(y.dtype) if y.is_floating_point() else x
    passed: Tensor = _Through.apply(x, y.detach())  # type: ignore[no-untyped-call]
    return passed


def _size(x: Tensor) -> Tensor:
    """The mean magnitude of an image's numbers, those that are finite; never 0."""
    away = x.detach().abs().nan_to_num(0.0, 0.0, 0.0)
    inner = tuple(range(1, away.dim()))
    return (away.mean(inner, keepdim=True) if inner else away).clamp(min=1e-9)


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, difference: Tensor, holds: Tensor) -> Tensor:
        ctx.save_for_backward(difference)
        return holds.to(torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        width = _size(difference)
        return gradients[0] * (width / (width + difference.abs().nan_to_num()) ** 2).to(difference.dtype), None


def step(difference: Float[Tensor, " *shape"], holds: Shaped[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
    """A comparison that a gradient passes: 1 where it `holds`, 0 elsewhere; it rises with `difference`.

    Args:
        difference: 0 at the step. The first dimension counts images.
        holds: bool, or 0 and 1: the true answer.
    """
    if _SMOOTH.get() == "both":
        return ((1 + difference / (_size(difference) + difference.abs())) / 2).to(torch.float32)
    stepped: Tensor = _Step.apply(difference, holds.detach())  # type: ignore[no-untyped-call]
    return stepped


def truth(condition: Shaped[Tensor, " *shape"]) -> Shaped[Tensor, " *shape"]:
    """The bool of a condition, be it one or a step; a smooth one holds from one half on."""
    return condition if condition.dtype == torch.bool else condition.detach() >= 0.5


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
    if not has_path(condition) or (has_path(a, b) and not _SMOOTH.get()):
        return chosen
    if not chosen.is_floating_point():
        chosen = chosen.to(torch.float32 if chosen.dtype == torch.bool else torch.float64)
    if _SMOOTH.get() == "both":
        finite = a.isfinite() & b.isfinite()  # else 0 inf and its gradient are NaN, though the other one is chosen
        first, second = (torch.where(finite, value, 0) for value in (a, b))
        return torch.where(finite, condition * first + (1 - condition) * second, chosen).to(chosen.dtype)
    difference = (a.detach().to(chosen.dtype) - b.detach().to(chosen.dtype)).nan_to_num(0.0, 0.0, 0.0)
    passed: Tensor = _Condition.apply(chosen, condition, difference)  # type: ignore[no-untyped-call]
    return passed


def in_units(x: Float[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
    """x, divided by the mean magnitude of an image's numbers where that is more than one."""
    return x / _size(x).clamp(min=1).to(x.dtype)


def gentle(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that saturates where its first argument is large, followed at a size of one where it is smoothed."""

    def followed(x: Tensor, *more: Any) -> Tensor:
        if not has_path(x) or not _SMOOTH.get():
            return function(x, *more)
        return through(function(in_units(x), *more), function(x.detach(), *more))

    return followed


def saw(function: Callable[[Tensor, Tensor], Tensor], x: Shaped[Tensor, " ..."], b: Shaped[Tensor, " ..."]) -> Tensor:
    """x mod b by `function`; where it is smoothed, what it leaves of x is followed instead, and it is b / 2."""
    if not has_path(x, b) or not _SMOOTH.get():
        return function(x, b)
    left = function(x.detach(), b.detach())
    return through(0 * x + b / 2, left)
