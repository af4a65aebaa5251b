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
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ....runtime.errors import UnsupportedOperatorError
from ....runtime.shapes import Float
from ...integer_types import INT8, UINT8
from ..gradients import OutputGrid, clamp_round, round_ste
from ..values.levels import Levels
from ..values.scaled import EXACT, Mean, Scaled, Value, along, dense, is_dequantized
from ..windows import Attributes, pad_window, window

__all__ = [
    "REQUANTIZED",
    "conv",
    "conv_integer",
    "gemm",
    "global_average_pool",
    "in_units",
    "matmul",
    "matmul_integer",
    "spatial",
]

REQUANTIZED = "requantized"
"""The twin's own attribute of a Conv or Gemm: its weights are constants, and only a QuantizeLinear reads its result,
through clamps at most."""


def conv(attributes: Attributes, x: Value, weight: Value, bias: Value | None = None) -> Value:
    """Conv on [N, C, W], [N, C, H, W] or [N, C, D, H, W]."""
    weight = _rounded(attributes, x, weight)
    sizes, kernel = spatial(x), spatial(weight)
    if len(sizes) != len(kernel) or len(kernel) not in _CONVOLUTIONS:
        expected = f"an image of {len(kernel)} dimensions, at most 3"
        raise UnsupportedOperatorError("its image", expected=expected, got=f"one of {len(sizes)}")
    settings, convolution = window(attributes, sizes, kernel), _CONVOLUTIONS[len(kernel)]
    groups = int(attributes.get("group", 1))

    def convolve(a: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        a, pads = pad_window(a, settings, 0.0)
        return convolution(a, w, b, settings.strides, pads, settings.dilations, groups)

    rows = isinstance(weight, Scaled) and (weight.s.numel() == 1 or weight.s.shape[0] == weight.s.numel())
    if isinstance(x, Scaled) and isinstance(weight, Scaled) and rows and _integer_bias(attributes, bias):
        scale = x.s * (weight.s.reshape(1, -1, *[1] * len(kernel)) if weight.s.numel() > 1 else weight.s)
        return _accumulate(convolve, x, weight, bias, scale, divisible=groups == 1)
    return convolve(dense(x), dense(weight), None if bias is None else dense(bias))


_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def gemm(attributes: Attributes, a: Value, b: Value, c: Value | None = None) -> Value:
    """Gemm: alpha * a' @ b' + beta * c."""
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    if attributes.get("transA", 0):
        a = _transpose(a)
    b = _rounded(attributes, a, b)
    w = b if attributes.get("transB", 0) else _transpose(b)
    rows = isinstance(w, Scaled) and (w.s.numel() == 1 or w.s.shape == (len(w.n), 1))
    out = (w.n if isinstance(w, Scaled) else dense(w)).shape[0]
    plain = (beta == 1 or c is None) and _integer_bias(attributes, c) and _is_row(c, out)
    if isinstance(a, Scaled) and isinstance(w, Scaled) and rows and plain:
        scale = alpha * a.s * (w.s.reshape(1, -1) if w.s.numel() > 1 else w.s)
        return _accumulate(F.linear, a, w, c, scale, divisible=True)
    if alpha == beta == 1 and _is_row(c, out) and (c is None or dense(c).dim() == 1):
        return F.linear(dense(a), dense(w), None if c is None else dense(c))
    y: Tensor = alpha * (dense(a) @ dense(w).T)
    return y if c is None else y + beta * dense(c)


def matmul(attributes: Attributes, a: Value, b: Value) -> Value:
    """MatMul; on integers where b is a quantized [K, M] matrix, or both are tensors of one scale."""
    if isinstance(a, Scaled) and isinstance(b, Scaled) and a.n.dim() > 1 and b.n.dim() > 1 and a.s.numel() == 1:
        if b.n.dim() == 2:
            y = gemm({}, replace(a, n=a.n.flatten(0, -2)), b)
            if not isinstance(y, Scaled):
                return dense(y).reshape(*a.n.shape[:-1], -1)
            return replace(y, n=y.n.reshape(*a.n.shape[:-1], -1), s=y.s.reshape(-1) if y.s.numel() > 1 else y.s)
        if b.s.numel() == 1:
            exact = a.bound * b.bound * a.n.shape[-1] < EXACT
            n = a.n @ b.n if exact else (a.n.double() @ b.n.double()).float()
            return Scaled(n, a.s * b.s, EXACT)
    return dense(a) @ dense(b)


def conv_integer(attributes: Attributes, x: Value, weight: Value, *zeros: Value | None) -> Value:
    """ConvInteger: the accumulator of x - z_x and w - z_w."""
    x_zero, weight_zero = (*zeros, None, None)[:2]
    return dense(conv(attributes, _integers(x, x_zero, 1), _integers(weight, weight_zero, 0)))


def matmul_integer(attributes: Attributes, a: Value, b: Value, *zeros: Value | None) -> Value:
    """MatMulInteger: the accumulator of a - z_a and b - z_b; zero points of rows and of columns may differ."""
    a_zero, b_zero = (*zeros, None, None)[:2]
    return dense(matmul({}, _integers(a, a_zero, -2), _integers(b, b_zero, -1)))


def _integers(value: Value, zero: Value | None, axis: int) -> Scaled:
    n = dense(value).float()
    if zero is not None:
        n = n - along(dense(zero), n.dim(), axis).float()
    return Scaled(n, torch.ones((), device=n.device), float(UINT8.high))


def global_average_pool(attributes: Attributes, x: Value) -> Value:
    """GlobalAveragePool; of a dequantized tensor a `Mean`, where its sums are exact."""
    where = tuple(range(2, 2 + len(spatial(x))))
    if is_dequantized(x) and math.prod(x.n.shape[2:]) * x.bound < EXACT:
        return Mean(x.n.sum(where, keepdim=True), x.s, math.prod(x.n.shape[2:]))
    return dense(x).mean(where, keepdim=True)


def spatial(value: Value) -> tuple[int, ...]:
    """The sizes behind batch and channels: (H, W) of [N, C, H, W], or of a kernel [O, I, H, W]."""
    held = value.n if isinstance(value, Scaled) else value.q if isinstance(value, Levels) else dense(value)
    return tuple(held.shape[2:])


def _rounded(attributes: Attributes, x: Value, weight: Value) -> Value:
    """A float weight as ONNX Runtime's int8: s = (max - min) / 255, z = round(-128 - min / s), per tensor (qmath.h)."""
    if not attributes.get(REQUANTIZED) or not is_dequantized(x) or not isinstance(weight, Tensor):
        return weight
    low, high = weight.detach().min().clamp(max=0), weight.detach().max().clamp(min=0)
    s = torch.where(high == low, torch.ones_like(high), (high - low) / UINT8.high)
    z = (INT8.low - low / s).clamp(INT8.low, INT8.high).round()
    n = clamp_round(weight / s, OutputGrid(s, float(z), INT8.low, INT8.high)) - z
    return Scaled(n, s, float(UINT8.high))


def _integer_bias(attributes: Attributes, bias: Value | None) -> bool:
    """Whether the bias is integers, or a float one that ONNX Runtime rounds to integers."""
    return bias is None or isinstance(bias, Scaled) or bool(attributes.get(REQUANTIZED))


def _is_row(bias: Value | None, length: int) -> bool:
    """Whether a bias holds one number for each column of the result."""
    if bias is None:
        return True
    shape = (bias.n if isinstance(bias, Scaled) else dense(bias)).shape
    return shape[-1:] == (length,) and math.prod(shape) == length


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
