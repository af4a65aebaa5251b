"""The twin's operators that stay on the integers: what QLinearConv, QGemm, QLinearAdd and their kin compute.

    conv(s_x n_x, s_w n_w) + s_x s_w n_b  =  (s_x s_w) * (conv(n_x, n_w) + n_b)

The sum in brackets is the int32 accumulator of an integer kernel. Where it might pass 2^24 it is summed over blocks of
input channels whose partial sums cannot, the blocks are added in float64 and rounded to float32 once, as a kernel does
when it converts the accumulator.

Float weights and biases between a DequantizeLinear and a QuantizeLinear are rounded to n_w and n_b, as ONNX Runtime
does when it loads the graph (onnxruntime/core/optimizer/qdq_transformer/weight_bias_quantization.cc).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor

from ....runtime.errors import UnsupportedOperatorError
from ....runtime.shapes import Float
from ...integer_types import INT8, UINT8
from ..gradients import OutputGrid, clamp_round, round_ste
from ..values.levels import Levels
from ..values.scaled import EXACT, Mean, Product, Scaled, Sum, Value, along, dense
from ..windows import Attributes, pad_window, window

__all__ = [
    "REQUANTIZED",
    "add",
    "conv",
    "dequantize",
    "gemm",
    "global_average_pool",
    "in_units",
    "matmul",
    "multiply",
    "quantize",
    "spatial",
]

REQUANTIZED = "requantized"
"""The twin's own attribute of a Conv or Gemm: its weights are constants, and only a QuantizeLinear reads its result,
through clamps at most."""


def quantize(attributes: Attributes, x: Value, scale: Value, zero: Value | None = None) -> Float[Tensor, " ..."]:
    """QuantizeLinear: round_half_even(x / s) + z, clamped to the zero point's integer type."""
    s = dense(scale)
    z = torch.zeros((), dtype=_OUTPUT_TYPES[attributes.get("output_dtype", 0)]) if zero is None else dense(zero)
    limits = torch.iinfo(z.dtype)
    if z.numel() == 1 and s.numel() == 1:
        grid = OutputGrid(s.reshape(()), float(z), limits.min, limits.max)
        if not isinstance(x, Tensor | Levels):
            return x.requantized(grid)
        return clamp_round(dense(x) / grid.scale, grid)
    real, axis = dense(x), attributes.get("axis", 1)
    offset = along(z, real.dim(), axis).to(real.dtype)
    rounded = round_ste(real / along(s, real.dim(), axis)) + offset
    return clamp_round(rounded, OutputGrid(s, 0.0, limits.min, limits.max))


_OUTPUT_TYPES = {0: torch.uint8, 2: torch.uint8, 3: torch.int8, 4: torch.uint16, 5: torch.int16}


def dequantize(attributes: Attributes, q: Value, scale: Value, zero: Value | None = None) -> Scaled:
    """DequantizeLinear: s * (q - z), kept as integers and scale."""
    n, s = dense(q), dense(scale)
    if not n.is_floating_point():
        n = n.double() if n.dtype == torch.int32 else n.float()  # an int32 bias may pass 2^24
    axis = attributes.get("axis", 1)
    z = torch.zeros((), dtype=torch.uint8) if zero is None else dense(zero)
    limits = torch.iinfo(z.dtype)
    low, high = float(z.double().min()), float(z.double().max())
    if high or low:
        n = n - along(z, n.dim(), axis).to(n.dtype)
    bound = max(limits.max - low, high - limits.min)
    return Scaled(n, along(s, n.dim(), axis), bound, low if s.numel() == z.numel() == 1 else None)


def conv(attributes: Attributes, x: Value, weight: Value, bias: Value | None = None) -> Value:
    """Conv on [N, C, H, W]."""
    weight = _rounded(attributes, x, weight)
    rank = (weight.n if isinstance(weight, Scaled) else dense(weight)).dim()
    if rank != 4:
        raise UnsupportedOperatorError("Conv", expected="a weight [O, I, kH, kW]", got=f"one of {rank} dimensions")
    settings = window(attributes, spatial(x), spatial(weight))
    groups = int(attributes.get("group", 1))

    def convolve(a: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        a, pads = pad_window(a, settings, 0.0)
        return F.conv2d(a, w, b, settings.strides, pads, settings.dilations, groups)

    rows = isinstance(weight, Scaled) and (weight.s.numel() == 1 or weight.s.shape[0] == weight.s.numel())
    if isinstance(x, Scaled) and isinstance(weight, Scaled) and rows and _integer_bias(attributes, bias):
        scale = x.s * (weight.s.reshape(1, -1, 1, 1) if weight.s.numel() > 1 else weight.s)
        return _accumulate(convolve, x, weight, bias, scale, divisible=groups == 1)
    return convolve(dense(x), dense(weight), None if bias is None else dense(bias))


def gemm(attributes: Attributes, a: Value, b: Value, c: Value | None = None) -> Value:
    """Gemm: alpha * a' @ b' + beta * c."""
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if attributes.get("transA", 0):
        a = _transpose(a)
    b = _rounded(attributes, a, b)
    w = b if attributes.get("transB", 0) else _transpose(b)
    rows = isinstance(w, Scaled) and (w.s.numel() == 1 or w.s.shape == (len(w.n), 1))
    plain = alpha == beta == 1 and _integer_bias(attributes, c)
    if isinstance(a, Scaled) and isinstance(w, Scaled) and rows and plain:
        scale = a.s * (w.s.reshape(1, -1) if w.s.numel() > 1 else w.s)
        return _accumulate(F.linear, a, w, c, scale, divisible=True)
    if alpha == beta == 1 and (c is None or dense(c).dim() == 1):
        return F.linear(dense(a), dense(w), None if c is None else dense(c))
    y: Tensor = alpha * (dense(a) @ dense(w).T)
    return y if c is None else y + beta * dense(c)


def matmul(attributes: Attributes, a: Value, b: Value) -> Value:
    """MatMul; on integers where b is a quantized [K, M] matrix."""
    if isinstance(a, Scaled) and isinstance(b, Scaled) and a.n.dim() == b.n.dim() == 2:
        return gemm({}, a, b)
    return dense(a) @ dense(b)


def add(attributes: Attributes, a: Value, b: Value) -> Value:
    """Add; of two dequantized tensors a `Sum`, which the operator behind it computes."""
    return Sum(a, b) if _dequantized(a) and _dequantized(b) else dense(a) + dense(b)


def multiply(attributes: Attributes, a: Value, b: Value) -> Value:
    """Mul; of two dequantized tensors a `Product`."""
    return Product(a, b) if _dequantized(a) and _dequantized(b) else dense(a) * dense(b)


def global_average_pool(attributes: Attributes, x: Value) -> Value:
    """GlobalAveragePool; of a dequantized tensor a `Mean`, where its sums are exact."""
    if _dequantized(x) and math.prod(x.n.shape[2:]) * x.bound < EXACT:
        return Mean(x.n.sum((2, 3), keepdim=True), x.s, math.prod(x.n.shape[2:]))
    return dense(x).mean((2, 3), keepdim=True)


def spatial(value: Value) -> tuple[int, int]:
    """(H, W) of [N, C, H, W], or of a kernel [O, I, H, W]."""
    shape = (
        value.n.shape
        if isinstance(value, Scaled)
        else value.q.shape
        if isinstance(value, Levels)
        else dense(value).shape
    )
    return int(shape[-2]), int(shape[-1])


def _dequantized(value: Value) -> TypeGuard[Scaled]:
    return isinstance(value, Scaled) and value.zero is not None


def _rounded(attributes: Attributes, x: Value, weight: Value) -> Value:
    """A float weight as ONNX Runtime's int8: s = (max - min) / 255, z = round(-128 - min / s), per tensor (qmath.h)."""
    if not attributes.get(REQUANTIZED) or not _dequantized(x) or not isinstance(weight, Tensor):
        return weight
    low, high = weight.detach().min().clamp(max=0), weight.detach().max().clamp(min=0)
    s = torch.where(high == low, torch.ones_like(high), (high - low) / UINT8.high)
    z = (INT8.low - low / s).clamp(INT8.low, INT8.high).round()
    n = clamp_round(weight / s, OutputGrid(s, float(z), INT8.low, INT8.high)) - z
    return Scaled(n, s, float(UINT8.high))


def _integer_bias(attributes: Attributes, bias: Value | None) -> bool:
    """Whether the bias is integers, or a float one that ONNX Runtime rounds to integers."""
    return bias is None or isinstance(bias, Scaled) or bool(attributes.get(REQUANTIZED))


def _transpose(value: Value) -> Value:
    if isinstance(value, Scaled):
        return Scaled(value.n.T, value.s.T if value.s.dim() == 2 else value.s, value.bound)
    return dense(value).T


def _accumulate(
    operation: Callable[..., Tensor], x: Scaled, weight: Scaled, bias: Value | None, scale: Tensor, *, divisible: bool
) -> Scaled:
    """The accumulator of `operation`; `divisible` where the sum runs over axis 1 of both x and weight."""
    n_bias, tallest = in_units(bias, scale.reshape(-1))
    blocks = _blocks(x.bound, weight, tallest)
    if blocks == 1:
        n = operation(x.n, weight.n, None if n_bias is None else n_bias.to(x.n.dtype))
    elif divisible and blocks <= weight.n.shape[1]:
        n = torch.zeros((), dtype=torch.float64, device=x.n.device)
        if n_bias is not None:
            n = n_bias.double().reshape(1, -1, *[1] * (x.n.dim() - 2))
        for part, w in zip(x.n.chunk(blocks, 1), weight.n.chunk(blocks, 1), strict=True):
            n = n + operation(part, w).double()
    else:
        n = operation(x.n.double(), weight.n.double(), None if n_bias is None else n_bias.double())
    return Scaled(n.float(), scale, EXACT)


def in_units(bias: Value | None, scale: Float[Tensor, " #o"]) -> tuple[Float[Tensor, " #o"] | None, float]:
    """The bias in units of the accumulator, and its largest magnitude."""
    if bias is None:
        return None, 0.0
    if isinstance(bias, Scaled):
        # kernels take the integers as they are; a scale other than s_x * s_w is a graph that they do not compute
        own = bias.s.reshape(-1)
        n = bias.n if torch.allclose(own, scale, rtol=1e-4, atol=0) else bias.n * (own / scale)
    else:
        n = round_ste(dense(bias).reshape(-1) / scale)
    n = n.reshape(-1)
    return n, float(n.detach().abs().max()) if n.numel() else 0.0


def _blocks(bound: float, weight: Scaled, tallest: float) -> int:
    """Into how many blocks of input channels the sum is split so that each stays below 2^24.

    More than there are channels where one channel's sum might pass it.
    """
    magnitude = weight.n.detach().abs()
    if bound * float(magnitude.flatten(1).sum(1).max()) + tallest < EXACT:
        return 1
    blocks = 2
    while blocks <= weight.n.shape[1]:
        if all(bound * float(part.flatten(1).sum(1).max()) < EXACT for part in magnitude.chunk(blocks, 1)):
            return blocks
        blocks *= 2
    return blocks
