"""Values of the twin: a float tensor, integers with the scale that they stand for, or an operation on such integers
that QuantizeLinear will carry out the way an integer kernel does.

    Scaled(n, s) is the real tensor s * n, n integer-valued in float32.

float32 holds every integer below 2^24, so sums of n are exact as long as they stay below: `bound` is the largest
magnitude that n can have, from which each operator proves that they do or computes in float64.

Where ONNX Runtime fuses DequantizeLinear -> operator -> QuantizeLinear to one kernel, the kernel's formula differs from
the three operators in the last float32 bit, and near a tie in the integer. `Sum`, `Product`, `Mean` and `Averages` wait
for their reader: `real` is the float operator's formula, `requantized` the kernel's on x86 with AVX2 (below
onnxruntime/core/mlas/lib; files in the docstrings). With power-of-two scales and an even zero point the two are equal.
(The NEON kernel of QLinearAdd rounds ties away from zero, whatever the scales: on arm64, parity is for `check_parity`
to find.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeGuard

from torch import Tensor

from ....runtime.shapes import Float, Shaped
from ...integer_types import UINT8
from ..gradients import OutputGrid, clamp_round
from .levels import Levels

__all__ = ["EXACT", "Averages", "Mean", "Product", "Scaled", "Sum", "Value", "along", "dense", "is_dequantized"]

EXACT = 2.0**24
"""Integers up to here are exact in float32."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """s * n.

    Attributes:
        n: integer-valued float tensor.
        s: float32 scale, of one element or shaped so that it broadcasts with n.
        bound: no element of n is larger in magnitude.
        zero: the zero point that was taken off, where n comes straight from a per-tensor DequantizeLinear.
    """

    n: Float[Tensor, " ..."]
    s: Float[Tensor, " ..."]
    bound: float
    zero: float | None = None

    def real(self) -> Float[Tensor, " ..."]:
        """The real numbers, float32."""
        return (self.n * self.s).to(self.s.dtype)

    def requantized(self, grid: OutputGrid) -> Float[Tensor, " ..."]:
        """round(n * fl(s / s_y)) + z, as the int32 accumulator of QLinearConv (quantize.cpp, MlasRequantizeOutput)."""
        return clamp_round((self.n * (self.s / grid.scale)).to(grid.scale.dtype), grid)


@dataclass(frozen=True, slots=True)
class Sum:
    """a + b, or its positive part, where both come straight from a per-tensor DequantizeLinear."""

    a: Scaled
    b: Scaled
    rectified: bool = False

    def real(self) -> Float[Tensor, " ..."]:
        total = self.a.real() + self.b.real()
        return total.clamp(min=0) if self.rectified else total

    def requantized(self, grid: OutputGrid) -> Float[Tensor, " ..."]:
        """QLinearAdd (intrinsics/avx2/qladd_avx2.cpp), r = s / s_y:

        round(fma(q_a, r_a, fma(q_b, r_b, c))),  c = z - fma(r_a, z_a, fl(r_b * z_b))

        It is for 8 bits, and a ReLU that the grid does not make keeps it away.
        """
        if grid.high - grid.low > UINT8.high or (self.rectified and grid.zero != grid.low):
            return clamp_round(self.real() / grid.scale, grid)
        first, second = self.a.s / grid.scale, self.b.s / grid.scale
        if _power_of_two(first) and _power_of_two(second) and grid.zero % 2 == 0:  # float32 will do, in any order
            return clamp_round(self.a.n * first + self.b.n * second, grid)
        assert self.a.zero is not None
        assert self.b.zero is not None
        constant = grid.zero - _fma(first, self.a.zero, (second * self.b.zero).double())
        y = _fma(self.b.n + self.b.zero, second, constant.double())
        y = _fma(self.a.n + self.a.zero, first, y.double())
        return clamp_round(y, replace(grid, zero=0.0))


@dataclass(frozen=True, slots=True)
class Product:
    """a * b, where both come straight from a per-tensor DequantizeLinear."""

    a: Scaled
    b: Scaled

    def real(self) -> Float[Tensor, " ..."]:
        return self.a.real() * self.b.real()

    def requantized(self, grid: OutputGrid) -> Float[Tensor, " ..."]:
        """round(n_a n_b fl(s_a s_b / s_y) + z), QLinearMul (qlmul.cpp): the zero point goes in before the rounding."""
        y = self.a.n * self.b.n * (self.a.s * self.b.s / grid.scale)
        return clamp_round(y, grid, zero_first=True)


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of `count` integers of scale s, n being their sum."""

    n: Float[Tensor, " ..."]
    s: Float[Tensor, " ..."]
    count: int

    def real(self) -> Float[Tensor, " ..."]:
        return self.n * (self.s / self.count)

    def requantized(self, grid: OutputGrid) -> Float[Tensor, " ..."]:
        """round(n * fl(s / fl(s_y * count))) + z, QLinearGlobalAveragePool (qlgavgpool.cpp)."""
        return clamp_round(self.n * (self.s / (grid.scale * self.count)), grid)


@dataclass(frozen=True, slots=True)
class Averages:
    """Means over windows of a dequantized tensor, as float32."""

    values: Float[Tensor, " ..."]

    def real(self) -> Float[Tensor, " ..."]:
        return self.values

    def requantized(self, grid: OutputGrid) -> Float[Tensor, " ..."]:
        """round(y / s_y + z), QLinearAveragePool (contrib_ops/cpu/quantization/qlinear_pool.cc): z before rounding."""
        return clamp_round(self.values / grid.scale, grid, zero_first=True)


Value = Tensor | Scaled | Sum | Product | Mean | Averages | Levels


def dense(value: Value) -> Shaped[Tensor, " ..."]:
    """The real numbers, as a tensor."""
    return value if isinstance(value, Tensor) else value.real()


def is_dequantized(value: Value) -> TypeGuard[Scaled]:
    """Whether a value comes straight from a per-tensor DequantizeLinear."""
    return isinstance(value, Scaled) and value.zero is not None


def along(vector: Shaped[Tensor, " ..."], rank: int, axis: int) -> Shaped[Tensor, " ..."]:
    """A per-channel vector shaped so that it broadcasts along `axis` of a tensor of `rank`."""
    if vector.numel() == 1:
        return vector.reshape(())
    shape = [1] * rank
    shape[axis % rank] = -1
    return vector.reshape(shape)


def _fma(x: Tensor, factor: Tensor | float, term: Tensor) -> Tensor:
    """fl(x * factor + term) with one rounding: 8-bit times 24-bit products are exact in float64."""
    return (x.double() * factor + term).float()


def _power_of_two(scale: Tensor) -> bool:
    return math.frexp(float(scale.detach()))[0] == 0.5
