"""8-bit activations kept as bytes, and the gradient's way past them.

autograd follows float tensors only. A byte tensor q is therefore accompanied by `path`, a float tensor of its shape
that holds one element of memory and no data: functions below take and give both, and gradients flow along the paths.

Gradients are in bfloat16 where the processor multiplies it, in float32 elsewhere. A straight-through gradient is a
surrogate to begin with; its relative error of 2^-9 a layer turns the sign of pixels that hardly matter.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ....runtime.shapes import Float, Float32, Shaped, UInt8
from ...bfloat16 import has_bfloat16
from ...integer_types import UINT8
from ..gradients import leak, leaked

__all__ = [
    "ByteLayer",
    "Levels",
    "accumulated",
    "added",
    "byte_levels",
    "clamped",
    "gradient_dtype",
    "layer_levels",
    "max_pooled",
    "pixel_levels",
]

CHANNELS_LAST = torch.channels_last


@dataclass(frozen=True, slots=True)
class Levels:
    """The result q of a QuantizeLinear to uint8.

    Attributes:
        q: uint8, [N, C, H, W] with the channels last in memory, or [N, K].
        path: float, like q; where autograd attaches what comes before.
    """

    q: UInt8[Tensor, " *shape"]
    path: Float[Tensor, " *shape"]

    def real(self) -> Float32[Tensor, " ..."]:
        """q as float32."""
        opened: Tensor = _Opened.apply(self.path, self.q)  # type: ignore[no-untyped-call]
        return opened


class ByteLayer(Protocol):
    """A linear layer on levels."""

    def __call__(self, q: UInt8[Tensor, "n ..."]) -> Shaped[Tensor, "n ..."]:
        """uint8 to requantized uint8, or to the float32 accumulator."""

    def transposed(self, gradient: Float[Tensor, "n ..."], shape: torch.Size) -> Float[Tensor, "n ..."]:
        """The gradient with respect to q, of this shape, given the gradient of the result before its clamp."""


@functools.cache
def gradient_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies it, else float32."""
    return torch.bfloat16 if has_bfloat16() else torch.float32


def pixel_levels(images: Float[Tensor, "n c h w"]) -> Levels:
    """Float images [N, C, H, W] in [0, 1] rounded to pixels; the gradient is zero outside [0, 255]."""
    return Levels(*_Pixels.apply(images))  # type: ignore[no-untyped-call]


def byte_levels(q: Float[Tensor, " ..."]) -> Levels:
    """Integer-valued floats in [0, 255] as bytes."""
    return Levels(*_Closed.apply(q))  # type: ignore[no-untyped-call]


def clamped(x: Levels, low: int, high: int) -> Levels:
    """min(max(q, low), high); the gradient is a clamp's."""
    return Levels(*_Clamped.apply(x.path, x.q, (low, high)))  # type: ignore[no-untyped-call]


def max_pooled(x: Levels, window: tuple[Any, ...]) -> Levels:
    """MaxPool on [N, C, H, W]; `window` is kernel, strides, padding, dilations and ceil mode, as torch takes them."""
    if not x.path.requires_grad:
        pooled = F.max_pool2d(x.q.to(gradient_dtype()), *window)
        return Levels(_bytes(pooled), _path(pooled))
    return Levels(*_MaxPool.apply(x.path, x.q, window))  # type: ignore[no-untyped-call]


def added(a: Levels, b: Levels, factors: tuple[float, float], offset: float) -> Levels:
    """clamp(round_half_even(f_a q_a + f_b q_b + offset)), exact for powers of two of like size."""
    return Levels(*_Added.apply(a.path, b.path, a.q, b.q, (*factors, offset)))  # type: ignore[no-untyped-call]


def layer_levels(layer: ByteLayer, x: Levels) -> Levels:
    """A layer that requantizes. Where the result is 0 or 255 the clamp may have cut: no gradient but what leaks."""
    return Levels(*_Requantized.apply(x.path, x.q, layer))  # type: ignore[no-untyped-call]


def accumulated(layer: ByteLayer, x: Levels) -> Float[Tensor, "n ..."]:
    """A layer's accumulator, float32."""
    n: Tensor = _Accumulated.apply(x.path, x.q, layer)  # type: ignore[no-untyped-call]
    return n


def _path(q: Tensor) -> Tensor:
    return torch.empty((), dtype=gradient_dtype()).expand(q.shape)


def _bytes(q: Tensor) -> Tensor:
    """By way of int16: torch has vector instructions for either step, none for float to byte."""
    return q.to(torch.int16).to(torch.uint8)


def _as_bytes(ctx: Any, q: Tensor) -> tuple[Tensor, Tensor]:
    ctx.mark_non_differentiable(q)
    ctx.set_materialize_grads(False)  # or zeros would be made for q
    return q, _path(q)


def _inside(gradient: Tensor, q: Tensor, share: float) -> Tensor:
    """The gradient where 0 < q < 255, else what leaks of it; fused in torch's kernel of this name."""
    inside: Tensor = torch.ops.aten.hardtanh_backward(gradient, q.to(gradient.dtype), UINT8.low, UINT8.high)
    return inside.lerp_(gradient, share) if share else inside


class _Pixels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor) -> tuple[Tensor, Tensor]:
        levels = (images * 255).round_()
        q = levels.clamp(UINT8.low, UINT8.high)
        ctx.outside = None if torch.equal(q, levels) else q != levels
        return _as_bytes(ctx, _bytes(q).contiguous(memory_format=CHANNELS_LAST))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[1].float().mul_(255)
        return gradient if ctx.outside is None else gradient.masked_fill_(ctx.outside, 0)


class _Closed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor) -> tuple[Tensor, Tensor]:
        return _as_bytes(ctx, _bytes(q))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[1].float()


class _Opened(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, path: Tensor, q: Tensor) -> Tensor:
        return q.float()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].to(gradient_dtype()), None


class _Clamped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, path: Tensor, q: Tensor, ends: tuple[int, int]) -> tuple[Tensor, Tensor]:
        inside = q.clamp(*ends)
        ctx.leak = leak()
        ctx.save_for_backward(inside == q)
        return _as_bytes(ctx, inside)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return leaked(gradients[1], inside, ctx.leak), None, None


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, path: Tensor, q: Tensor, window: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
        wide = q.to(gradient_dtype())
        pooled, where = torch.ops.aten.max_pool2d_with_indices(wide, *window)
        ctx.window = window
        ctx.save_for_backward(wide, where)
        return _as_bytes(ctx, _bytes(pooled))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        wide, where = ctx.saved_tensors
        pooled = gradients[1].contiguous(memory_format=CHANNELS_LAST)
        return torch.ops.aten.max_pool2d_with_indices_backward(pooled, wide, *ctx.window, where), None, None


class _Added(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917
        ctx: Any, path_a: Tensor, path_b: Tensor, a: Tensor, b: Tensor, numbers: tuple[float, float, float]
    ) -> tuple[Tensor, Tensor]:
        ctx.first, ctx.second, offset = numbers
        ctx.leak = leak()
        y = torch.add(a.float().mul_(ctx.first), b, alpha=ctx.second).add_(offset)
        q = _bytes(y.round_().clamp_(UINT8.low, UINT8.high))
        ctx.save_for_backward(q)
        return _as_bytes(ctx, q)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        (q,) = ctx.saved_tensors
        gradient = _inside(gradients[1], q, ctx.leak)
        return gradient * ctx.first, gradient * ctx.second, None, None, None


class _Requantized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, path: Tensor, q: Tensor, layer: ByteLayer) -> tuple[Tensor, Tensor]:
        ctx.layer, ctx.shape, ctx.leak = layer, q.shape, leak()
        result = layer(q)
        ctx.save_for_backward(result)
        return _as_bytes(ctx, result)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (result,) = ctx.saved_tensors
        return ctx.layer.transposed(_inside(gradients[1], result, ctx.leak), ctx.shape), None, None


class _Accumulated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, path: Tensor, q: Tensor, layer: ByteLayer) -> Tensor:
        ctx.layer, ctx.shape = layer, q.shape
        return layer(q)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return ctx.layer.transposed(gradients[0].to(gradient_dtype()), ctx.shape), None, None
