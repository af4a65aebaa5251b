"""The twin's operators that stay on the integers: what QLinearConv, QGemm, QLinearAdd and their kin compute.

    conv(s_x n_x, s_w n_w) + s_x s_w n_b  =  (s_x s_w) * (conv(n_x, n_w) + n_b)

The sum in brackets is the int32 accumulator of an integer kernel. Where it might pass 2^24 it is summed over blocks of
input channels whose partial sums cannot, the blocks are added in float64 and rounded to float32 once, as a kernel does
when it converts the accumulator.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .scaled import EXACT, Scaled, Value, dense, requantize
from .windows import Attributes, pad_window, window

__all__ = ["conv", "dequantize", "gemm", "matmul", "quantize"]


def quantize(attributes: Attributes, x: Value, scale: Value, zero: Value | None = None) -> Tensor:
    """QuantizeLinear: round_half_even(x / s) + z, clamped to the zero point's integer type."""
    s = dense(scale)
    z = torch.zeros((), dtype=torch.uint8) if zero is None else dense(zero)
    limits = torch.iinfo(z.dtype)
    if z.numel() == 1:
        y = x.n * (x.s / s.reshape(())) if isinstance(x, Scaled) else x / s.reshape(())
        return requantize(y, float(z), limits.min, limits.max)
    real = dense(x)
    offset = _along(z, real.dim(), attributes.get("axis", 1)).to(real.dtype)
    y = real / _along(s, real.dim(), attributes.get("axis", 1)) + offset
    return requantize(y, 0.0, limits.min, limits.max)


def dequantize(attributes: Attributes, q: Value, scale: Value, zero: Value | None = None) -> Scaled:
    """DequantizeLinear: s * (q - z), kept as integers and scale."""
    n, s = dense(q), dense(scale)
    if not n.is_floating_point():
        n = n.float()
    axis = attributes.get("axis", 1)
    if zero is None:
        return Scaled(n, _along(s, n.dim(), axis), 255.0)
    z = dense(zero)
    limits = torch.iinfo(z.dtype)
    low, high = float(z.min()), float(z.max())
    if high or low:
        n = n - _along(z, n.dim(), axis).to(n.dtype)
    return Scaled(n, _along(s, n.dim(), axis), max(limits.max - low, high - limits.min))


def conv(attributes: Attributes, x: Value, weight: Value, bias: Value | None = None) -> Value:
    """Conv on [N, C, H, W]."""
    settings = window(attributes, spatial(x), spatial(weight))
    groups = int(attributes.get("group", 1))

    def convolve(a: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        a, pads = pad_window(a, settings, 0.0)
        return F.conv2d(a, w, b, settings.strides, pads, settings.dilations, groups)

    if not (isinstance(x, Scaled) and isinstance(weight, Scaled)) or isinstance(bias, Tensor):
        return convolve(dense(x), dense(weight), None if bias is None else dense(bias))
    scale = x.s * (weight.s.reshape(1, -1, 1, 1) if weight.s.numel() > 1 else weight.s)
    n_bias, tallest = _bias(bias, scale.reshape(-1))
    blocks = _blocks(x.bound, weight, tallest)
    if blocks == 1:
        return Scaled(convolve(x.n, weight.n, n_bias), scale, EXACT)
    if groups > 1:
        n = convolve(x.n.double(), weight.n.double(), None if n_bias is None else n_bias.double())
        return Scaled(n.float(), scale, EXACT)
    parts = zip(x.n.chunk(blocks, 1), weight.n.chunk(blocks, 1), strict=True)
    return Scaled(_add(n_bias, [convolve(a, w) for a, w in parts], (1, -1, 1, 1)), scale, EXACT)


def gemm(attributes: Attributes, a: Value, b: Value, c: Value | None = None) -> Value:
    """Gemm: alpha * a' @ b' + beta * c."""
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if attributes.get("transA", 0):
        a = _transpose(a)
    w = b if attributes.get("transB", 0) else _transpose(b)
    plain = alpha == 1 and beta == 1 and not isinstance(c, Tensor)
    if isinstance(a, Scaled) and isinstance(w, Scaled) and plain and w.s.numel() in (1, len(w.n)):
        scale = a.s * (w.s.reshape(1, -1) if w.s.numel() > 1 else w.s)
        n_bias, tallest = _bias(c, scale.reshape(-1))
        blocks = _blocks(a.bound, w, tallest)
        if blocks == 1:
            return Scaled(F.linear(a.n, w.n, n_bias), scale, EXACT)
        parts = zip(a.n.chunk(blocks, 1), w.n.chunk(blocks, 1), strict=True)
        return Scaled(_add(n_bias, [F.linear(x, y) for x, y in parts], (1, -1)), scale, EXACT)
    y = alpha * (dense(a) @ dense(w).T)
    return y if c is None else y + beta * dense(c)


def matmul(attributes: Attributes, a: Value, b: Value) -> Value:
    """MatMul; on integers where b is a quantized [K, M] matrix."""
    if isinstance(a, Scaled) and isinstance(b, Scaled) and a.n.dim() == 2 and b.n.dim() == 2:
        return gemm({}, a, b)
    return dense(a) @ dense(b)


def spatial(value: Value) -> tuple[int, int]:
    """(H, W) of [N, C, H, W], or of a kernel [O, I, H, W]."""
    shape = value.n.shape if isinstance(value, Scaled) else value.shape
    return int(shape[-2]), int(shape[-1])


def _along(vector: Tensor, rank: int, axis: int) -> Tensor:
    """A per-channel vector shaped so that it broadcasts along `axis` of a tensor of `rank`."""
    if vector.numel() == 1:
        return vector.reshape(())
    shape = [1] * rank
    shape[axis % rank] = -1
    return vector.reshape(shape)


def _transpose(value: Value) -> Value:
    if isinstance(value, Scaled):
        return Scaled(value.n.T, value.s.T if value.s.dim() == 2 else value.s, value.bound)
    return value.T


def _bias(bias: Value | None, scale: Tensor) -> tuple[Tensor | None, float]:
    """The bias in units of the accumulator, and its largest magnitude."""
    if not isinstance(bias, Scaled):
        return None, 0.0
    n = bias.n
    own = bias.s.reshape(-1)
    if not torch.equal(own.expand_as(scale) if own.numel() == 1 else own, scale.expand_as(own)):
        n = n * (own / scale)
    n = n.reshape(-1)
    return n, float(n.detach().abs().max()) if n.numel() else 0.0


def _blocks(bound: float, weight: Scaled, tallest: float) -> int:
    """Into how many blocks of input channels the sum is split so that each stays below 2^24."""
    inputs = weight.n[0].numel()
    if bound * min(weight.bound, 128.0) * inputs + tallest < EXACT:
        return 1
    rows = weight.n.detach().abs().flatten(1).sum(1).max()
    if bound * float(rows) + tallest < EXACT:
        return 1
    blocks = 2
    while blocks < weight.n.shape[1]:
        parts = weight.n.detach().abs().chunk(blocks, 1)
        if all(bound * float(part.flatten(1).sum(1).max()) < EXACT for part in parts):
            break
        blocks *= 2
    return min(blocks, weight.n.shape[1])


def _add(bias: Tensor | None, parts: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    total: Any = sum(part.double() for part in parts)
    return (total if bias is None else total + bias.double().reshape(shape)).float()
