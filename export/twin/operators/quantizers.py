"""The twin's QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear.

    q = clamp(round_half_even(x / s) + z)          x = s (q - z)

Scale and zero point are one number, one for each index of `axis`, or one for each block of `block_size` indices of it.
Integers of 4 bits are stored as bytes here; their type is the graph's (`RESULT_TYPE`).
"""

from __future__ import annotations

import torch
from onnx import TensorProto
from torch import Tensor

from ....runtime.shapes import Float, Shaped
from ...integer_types import UINT8
from ..gradients import OutputGrid, clamp_round, round_ste
from ..nodes import ELEMENT_TYPE, INTEGERS, RESULT_TYPE
from ..values.levels import Levels
from ..values.scaled import Scaled, Value, along, dense
from ..windows import Attributes

__all__ = ["dequantize", "dynamic_quantize", "quantize"]


def quantize(attributes: Attributes, x: Value, scale: Value, zero: Value | None = None) -> Float[Tensor, " ..."]:
    """QuantizeLinear, to the zero point's integer type."""
    s = dense(scale)
    low, high = _limits(attributes.get(RESULT_TYPE), zero)
    z = torch.zeros(()) if zero is None else dense(zero)
    if z.numel() == 1 and s.numel() == 1:
        grid = OutputGrid(s.reshape(()).float(), float(z.detach()), low, high)
        if not isinstance(x, Tensor | Levels):
            return x.requantized(grid)
        return clamp_round(_single(dense(x)) / grid.scale, grid)
    real = _single(dense(x))
    offset = _spread(z, real, attributes).to(real.dtype)
    rounded = round_ste(real / _spread(s, real, attributes)) + offset
    return clamp_round(rounded, OutputGrid(s.float(), 0.0, low, high))


def dequantize(attributes: Attributes, q: Value, scale: Value, zero: Value | None = None) -> Value:
    """DequantizeLinear, kept as integers and scale."""
    n, s = dense(q), dense(scale)
    if not n.is_floating_point():
        n = n.double() if n.dtype == torch.int32 else n.float()  # an int32 bias may pass 2^24
    z = torch.zeros(()) if zero is None else dense(zero)
    smallest, largest = _limits(attributes.get(ELEMENT_TYPE), zero)
    low, high = float(z.detach().double().min()), float(z.detach().double().max())
    if high or low:
        n = n - _spread(z, n, attributes).to(n.dtype)
    bound = max(largest - low, high - smallest)
    return Scaled(n, _spread(s, n, attributes), bound, low if s.numel() == z.numel() == 1 else None)


def dynamic_quantize(attributes: Attributes, x: Value) -> tuple[Value, ...]:
    """DynamicQuantizeLinear: the scale is that of all values together, of every image in the batch.

    s = (max(max x, 0) - min(min x, 0)) / 255,   z = clamp(round_half_even(-min(min x, 0) / s))
    """
    a = dense(x)
    low, high = a.min().clamp(max=0), a.max().clamp(min=0)
    span = high - low
    s = torch.where(span == 0, torch.ones_like(span), span / UINT8.high)
    z = clamp_round(-low / s, OutputGrid(s, 0.0, UINT8.low, UINT8.high))
    return clamp_round(round_ste(a / s) + z, OutputGrid(s, 0.0, UINT8.low, UINT8.high)), s, z


def _limits(kind: int | None, zero: Value | None) -> tuple[float, float]:
    """The type's, or where the graph does not say it the zero point's."""
    if kind in INTEGERS:
        low, count = INTEGERS[kind]
        return float(low), float(low + count - 1)
    if isinstance(zero, Tensor) and not zero.is_floating_point():
        limits = torch.iinfo(zero.dtype)
        return float(limits.min), float(limits.max)
    low, count = INTEGERS[TensorProto.UINT8]
    return float(low), float(low + count - 1)


def _single(x: Float[Tensor, " ..."]) -> Float[Tensor, " ..."]:
    """Half precision is divided in single precision, as ONNX Runtime does."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _spread(vector: Shaped[Tensor, " ..."], like: Shaped[Tensor, " ..."], attributes: Attributes) -> Tensor:
    """Scales or zero points shaped so that they broadcast with what they belong to."""
    axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)
    if not block:
        return along(vector, like.dim(), axis)
    axis %= like.dim()
    return vector.repeat_interleave(block, axis).narrow(axis, 0, like.shape[axis])
