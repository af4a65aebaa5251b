"""Gradients that leak through a closed clamp, where an attack asks for them.

    y = min(max(x, low), high),      dy/dx := 1 inside, `share` outside

The forward pass stays what it is, the backward pass is that of a smoother function near it: a unit that is off (ReLU)
or saturated still says in which direction it would come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ...runtime.shapes import Float, Float32, Shaped

__all__ = ["OutputGrid", "clamp_round", "leak", "leaked", "leaking", "round_ste", "sign_ste"]

_LEAK: ContextVar[float] = ContextVar("leak", default=0.0)


def leak() -> float:
    """The share now, 0 without a leak; for a clamp's forward pass, which keeps it for its backward pass."""
    return _LEAK.get()


def leaked(
    gradient: Float[Tensor, " *shape"], inside: Shaped[Tensor, " *shape"], share: float
) -> Float[Tensor, " *shape"]:
    """Of a gradient, the part that passes a clamp: all where `inside` (bool, or 0 and 1), `share` of it elsewhere."""
    return gradient * (inside if not share else inside * (1 - share) + share)


@contextmanager
def leaking(share: float) -> Iterator[None]:
    """Forward passes in here have gradients that leak; those of twins, and of torch modules made of torch's clamps.

    Args:
        share: of the gradient that passes a closed clamp, in [0, 1]; 0 is the true gradient.
    """
    token = _LEAK.set(share)
    try:
        with _LeakyClamps():
            yield
    finally:
        _LEAK.reset(token)


class _Leaky(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, share: float) -> Tensor:
        ctx.share = share
        ctx.save_for_backward(x == y)
        return y.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return leaked(gradients[0], inside, ctx.share), None, None


class _LeakyClamps(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _CLAMPS or not args or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        x, *rest = args
        in_place = func.__name__.endswith("_") or any(flag is True for flag in (*rest, kwargs.get("inplace")))
        y = func(x.detach().clone() if in_place else x.detach(), *rest, **kwargs)
        result = _Leaky.apply(x, y, leak())  # type: ignore[no-untyped-call]
        return x.copy_(result) if in_place else result


_CLAMPS = frozenset(
    {
        *(F.relu, F.relu_, F.relu6, F.hardtanh, F.hardtanh_),
        *(torch.relu, torch.relu_, torch.clamp, torch.clamp_, torch.clamp_min, torch.clamp_max),
        *(Tensor.relu, Tensor.relu_, Tensor.clamp, Tensor.clamp_, Tensor.clamp_min, Tensor.clamp_max),
    }
)


@dataclass(frozen=True, slots=True)
class OutputGrid:
    """What a QuantizeLinear rounds to.

    Attributes:
        scale: float32, of no dimension; per channel, one that broadcasts along the values.
        zero: the zero point.
        low, high: smallest and largest q.
    """

    scale: Float32[Tensor, " ..."]
    zero: float
    low: float
    high: float


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def round_ste(x: Float[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
    """Round half to even; derivative one (Bengio et al. 2013, straight-through estimator)."""
    rounded: Tensor = _Round.apply(x)  # type: ignore[no-untyped-call]
    return rounded


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x.abs() <= 1)
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (inside,) = ctx.saved_tensors
        return leaked(gradients[0], inside, 0.0)


def sign_ste(x: Float[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
    """+1 where x >= 0, else -1; derivative one where |x| <= 1, else zero (Hubara et al. 2016, eq. 4)."""
    signs: Tensor = _Sign.apply(x)  # type: ignore[no-untyped-call]
    return signs


class _ClampRound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: OutputGrid, zero_first: bool) -> Tensor:
        q = x.add(grid.zero).round_() if zero_first else x.round().add_(grid.zero)
        ctx.save_for_backward((q >= grid.low) & (q <= grid.high))
        ctx.leak = leak()
        return q.clamp_(grid.low, grid.high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return leaked(gradients[0], inside, ctx.leak), None, None


def clamp_round(x: Float[Tensor, " *shape"], grid: OutputGrid, *, zero_first: bool = False) -> Float[Tensor, " *shape"]:
    """clamp(round_half_even(x) + z, low, high), with z added before the rounding if `zero_first`.

    The gradient is a clamp's, straight-through: one where the rounded value lies in [low, high], outside zero or what
    leaks (`leak()`).
    """
    q: Tensor = _ClampRound.apply(x, grid, zero_first)  # type: ignore[no-untyped-call]
    return q
