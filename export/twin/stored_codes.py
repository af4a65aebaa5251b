"""The integers that a stored tensor may take while its float shadow is trained.

    n = clamp(round_half_even(w / s) + z, low, high)         gradient of w: 1 inside, 0 outside
    n = +1 where w >= 0, else -1                             gradient of w / s: 1 where |w / s| <= 1, else 0

The second line is for weights of one bit: the straight-through estimator of Hubara et al. 2016 (Binarized neural
networks, eq. 4), as Galloway et al. 2018 (Attacking binarized neural networks) train with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...runtime.shapes import Float, Shaped
from ..integer_types import INT8, IntegerType
from .gradients import round_ste, sign_ste

__all__ = ["Codes", "codes_of"]

_SEVEN_BITS = IntegerType(7, signed=True).high

_TALLEST = 2.0**22
"""Of a bias: float32 holds every integer up to there with room for the sum that it is added to."""


@dataclass(frozen=True, slots=True)
class Codes:
    """The integers of one tensor.

    Attributes:
        low, high: smallest and largest.
        signs: only these two.
    """

    low: float
    high: float
    signs: bool = False

    def rounded(
        self, shadow: Float[Tensor, " *shape"], step: Float[Tensor, " ..."], zero: Float[Tensor, " ..."]
    ) -> Float[Tensor, " *shape"]:
        """The integers of float values, with a straight-through gradient."""
        if self.signs:
            return sign_ste(shadow / step)
        return (round_ste(shadow / step) + zero).clamp(self.low, self.high)

    def shadow(
        self,
        integers: Shaped[Tensor, " *shape"],
        step: Float[Tensor, " ..."],
        zero: Float[Tensor, " ..."],
        *,
        given: Float[Tensor, " *shape"] | None,
        clipped: bool = True,
    ) -> Float[Tensor, " *shape"] | None:
        """Float values to train, which round to `integers`: those given where they do, the integers' own elsewhere.

        None where float32 holds no such values (a bias beyond 2^22 or so). Clipped ones all have a gradient; what
        lies outside of its range asks for a wider one, where that is learned.
        """
        exact = (integers - zero) * step
        values = exact if given is None else given
        if clipped:
            values = values.clamp((self.low - zero) * step, (self.high - zero) * step)
        values = torch.where(self.rounded(values, step, zero) == integers, values, exact)
        return values if torch.equal(self.rounded(values, step, zero).double(), integers.double()) else None


def codes_of(
    integers: Shaped[Tensor, " ..."], zero: Float[Tensor, " ..."], bits: int | None, *, narrow: bool = False
) -> Codes:
    """The integers that a tensor may take.

    Args:
        integers: as they are stored.
        zero: the zero points.
        bits: of symmetric weights, where they are known. Otherwise the type's integers; of weights without zero points
            symmetric ones, and 7 bits where the tensor holds no more.
        narrow: biases stay below 2^22, since their scale may become smaller.
    """
    kind = torch.iinfo(integers.dtype)
    if bits == 1:
        return Codes(-1.0, 1.0, signs=True)
    if narrow and integers.dtype == torch.int32:
        return Codes(-_TALLEST, _TALLEST)
    if integers.dtype != torch.int8 or zero.any():
        return Codes(float(kind.min), float(kind.max))
    if bits is not None:
        largest = IntegerType(bits, signed=True).high
        return Codes(-largest, largest)
    largest = _SEVEN_BITS if integers.int().abs().max() <= _SEVEN_BITS else INT8.high
    return Codes(min(-largest, float(integers.min())), largest)
