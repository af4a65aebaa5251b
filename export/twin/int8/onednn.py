"""Conv and Gemm of uint8 activations and int8 weights in integer kernels: oneDNN's, which come with torch.

    n = conv(q - z_x, n_w) + n_b                  in int32, handed out as float32 (exact below 2^24)
    q_y = clamp(round_half_even(n * m) + z_y)     m = s_x s_w / s_y for each channel, where that is a power of two

oneDNN computes fl(fl(sum * m) + b) with b = n_b * m + z_y. No step of it rounds where m is a power of two, at most 1,
and |n| + z_y / m stays below 2^24; and an even z_y may be added before the rounding. Elsewhere the accumulator
is handed out. A layer with an accumulator that might reach 2^24 stays in floats.

Processors without VNNI add pairs of products in int16, which saturates: `exact` asks the kernels themselves.

oneDNN's convolutions (torch 2.13, AVX-512 VNNI) crash or compute garbage for some windows that are not square. Only
those of `trusted` are for them, none of which was found wrong, on maps of any shape and with groups of any size; a
layer asks its kernel all the same, once for each size of map, since another processor has another kernel.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....runtime.cpu import instruction_set
from ....runtime.shapes import Float, Shaped, UInt8
from ...integer_types import UINT8
from ..values.levels import CHANNELS_LAST, gradient_dtype
from ..values.scaled import EXACT
from ..windows import Window

__all__ = ["ByteConv", "ByteGemm", "Rescaling", "exact", "rescaling", "trusted"]


@dataclass(frozen=True, slots=True)
class Rescaling:
    """What happens to the sum of products of each output channel: `factor` [O] * sum + `offset` [O]."""

    factor: Tensor
    offset: Tensor
    requantized: bool

    @property
    def dtype(self) -> torch.dtype:
        return torch.uint8 if self.requantized else torch.float32


def rescaling(
    weight: Float[Tensor, " o *i"],
    bias: Float[Tensor, " o"],
    *,
    bound: float,
    factor: Float[Tensor, " o"] | None,
    zero: float,
) -> Rescaling | None:
    """From the accumulator to the result; None where the accumulator might reach 2^24 or is no integer.

    Args:
        weight: n_w [O, ...].
        bias: n_b [O].
        bound: the largest |q - z_x|.
        factor: m [O], or None to hand the accumulator out.
        zero: z_y.
    """
    tallest = bound * weight.abs().flatten(1).sum(1).double() + bias.abs()
    if tallest.max() >= EXACT or not torch.equal(bias, bias.round()):
        return None
    offset = bias.float()
    if factor is None or zero % 2 or factor.max() > 1 or not bool((torch.frexp(factor).mantissa == 0.5).all()):
        return Rescaling(torch.ones_like(offset), offset, requantized=False)
    if (tallest + zero / factor.double()).max() >= EXACT:
        return Rescaling(torch.ones_like(offset), offset, requantized=False)
    return Rescaling(factor, offset * factor + zero, requantized=True)


def trusted(window: Window) -> bool:
    """Whether the kernels can be let near this window: the same in both directions, padded by nothing or by half."""
    same = all(len(set(sides)) == 1 for sides in window)
    return same and window.pads[0] in (0, window.kernel[0] // 2 * window.dilations[0])


class ByteConv:
    """Conv; in floats, to the same bits, on sizes of map for which the kernel turns out to be wrong.

    Args:
        weight: integers [O, I, kH, kW] in [-128, 127], as floats.
        zero: z_x, which padding stands for.
        window, groups: as the node's; the window is a `trusted` one.
        rescaling: see there.
    """

    def __init__(
        self, weight: Float[Tensor, "o i kh kw"], zero: int, window: Window, groups: int, rescaling: Rescaling
    ) -> None:
        self._weight, self._zero, self._rescaling = weight, zero, rescaling
        self._right: dict[torch.Size, bool] = {}
        self._window = [list(window.strides), list(window.pads[:2]), list(window.dilations)]
        self._groups, self._no_zeros = groups, torch.zeros(len(weight), dtype=torch.int32)
        ones = torch.ones(len(weight))
        self._packed = torch.ops.onednn.qconv_prepack(weight.to(torch.int8), ones, 1.0, zero, *self._window, groups)
        self._back = _for_gradients(weight, rescaling).contiguous(memory_format=CHANNELS_LAST)

    def __call__(self, q: UInt8[Tensor, "n c h w"]) -> Shaped[Tensor, "n o oh ow"]:
        size = q.shape[1:]
        if size not in self._right:
            noise = torch.randint(0, 256, (1, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
            self._right[size] = torch.equal(self.in_bytes(noise), self.in_floats(noise))
        return self.in_bytes(q) if self._right[size] else self.in_floats(q)

    def in_bytes(self, q: UInt8[Tensor, "n c h w"]) -> Shaped[Tensor, "n o oh ow"]:
        """oneDNN's result."""
        q = q.contiguous(memory_format=CHANNELS_LAST)
        scale, bias, dtype = self._rescaling.factor, self._rescaling.offset, self._rescaling.dtype
        weight = (self._packed, scale, self._no_zeros, bias)
        result: tuple[Any, ...] = (1.0, 0, dtype, "none", [], "")
        y: Tensor = torch.ops.onednn.qconv2d_pointwise(
            q, 1.0, self._zero, *weight, *self._window, self._groups, *result
        )
        return y

    def in_floats(self, q: UInt8[Tensor, "n c h w"]) -> Shaped[Tensor, "n o oh ow"]:
        """The definition's."""
        strides, pads, dilations = self._window
        n = F.conv2d(q.to(self._weight.dtype) - self._zero, self._weight, None, strides, pads, dilations, self._groups)
        y: Tensor = n * self._rescaling.factor.view(-1, 1, 1) + self._rescaling.offset.view(-1, 1, 1)
        return (y.round().clamp(UINT8.low, UINT8.high) if self._rescaling.requantized else y).to(self._rescaling.dtype)

    def transposed(self, gradient: Float[Tensor, "n o oh ow"], shape: torch.Size) -> Float[Tensor, "n c h w"]:
        gradient = gradient.contiguous(memory_format=CHANNELS_LAST)
        unread = torch.empty(shape, dtype=gradient.dtype, memory_format=CHANNELS_LAST)
        rest = (False, [0, 0], self._groups, [True, False, False])
        back: Tensor = torch.ops.aten.convolution_backward(gradient, unread, self._back, None, *self._window, *rest)[0]
        return back


class ByteGemm:
    """Gemm: q [N, I] by integers [O, I] in [-128, 127], as floats."""

    def __init__(self, weight: Float[Tensor, "o i"], zero: int, rescaling: Rescaling) -> None:
        self._zero, self._rescaling = zero, rescaling
        self._no_zeros = torch.zeros(len(weight), dtype=torch.int32)
        self._packed = torch.ops.onednn.qlinear_prepack(weight.to(torch.int8), None)
        self._back = _for_gradients(weight, rescaling)

    def __call__(self, q: UInt8[Tensor, "n i"]) -> Shaped[Tensor, "n o"]:
        scale, bias, dtype = self._rescaling.factor, self._rescaling.offset, self._rescaling.dtype
        weight = (self._packed, scale, self._no_zeros, bias)
        y: Tensor = torch.ops.onednn.qlinear_pointwise(q, 1.0, self._zero, *weight, 1.0, 0, dtype, "none", [], "")
        return y

    def transposed(self, gradient: Float[Tensor, "n o"], shape: torch.Size) -> Float[Tensor, "n i"]:
        return gradient @ self._back


@functools.cache
def exact() -> bool:
    """Whether this machine's kernels are there, fast, and do not saturate."""
    if instruction_set() != "x86-64-vnni":
        return False
    q = torch.tensor([0, 255, 255, 255, 254, 255, 1, 255], dtype=torch.uint8).repeat(2, 8)
    weight = torch.tensor([127.0, 127, 127, -127, -128, -128, -128, 127]).repeat(16, 8)
    weight[1::2] = weight[::2].flip(1)
    plain = Rescaling(torch.ones(16), torch.arange(16.0), requantized=False)
    wanted = (q - 2.0) @ weight.T + plain.offset
    square = Window((1, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    try:
        gemm = ByteGemm(weight, 2, plain)(q)
        layer = ByteConv(weight[:, :, None, None], 2, square, 1, plain)
        conv = layer.in_bytes(q[:, :, None, None].expand(-1, -1, 3, 3))
    except (AttributeError, RuntimeError):
        return False
    return torch.equal(gemm, wanted) and torch.equal(conv, wanted[:, :, None, None].expand_as(conv))


def _for_gradients(weight: Tensor, rescaling: Rescaling) -> Tensor:
    """m n_w: products of an 8-bit integer and a power of two, exact in bfloat16."""
    factor: Any = rescaling.factor.view(-1, *[1] * (weight.dim() - 1))
    scaled: Tensor = (weight * factor).to(gradient_dtype())
    return scaled
