"""Trained quantization thresholds: scales that are trained as powers of two (Jain et al. 2019, arXiv:1903.08066).

    s = s_0 2^ceil(l)                                   l = log2 of the threshold, 0 at the end of the calibrated range
    x' = s clip(round(x / s), n, p)
    dx'/dl = s ln 2 (round(x / s) - x / s)  where n <= round(x / s) <= p,  s ln 2 n below,  s ln 2 p above

The twin computes x' with s itself (`values/scaled.py`), and this gradient, the paper's, is what autograd makes of that:
round and ceil are straight-through, and the factor's derivative is 2^ceil(l) ln 2. Whole exponents alone reach the
numbers, so every forward pass is that of a graph with power-of-two scales. Each l starts in the middle of its
exponent's interval.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ...runtime.shapes import Float, Shaped
from .movable_scales import MovableScales

__all__ = ["Thresholds", "power_of_two_ste"]

_START = -0.5
_BIAS, _MANTISSA = 127, 23  # of float32


class _PowerOfTwo(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, exponent: Tensor) -> Tensor:
        # bits, since no library's power need be exact
        power = ((exponent.ceil().to(torch.int32) + _BIAS) << _MANTISSA).view(torch.float32)
        ctx.save_for_backward(power)
        return power.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (power,) = ctx.saved_tensors
        gradient: Tensor = gradients[0] * power * math.log(2)
        return gradient


def power_of_two_ste(exponent: Float[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
    """2^ceil(l) in float32, exactly; derivative 2^ceil(l) ln 2. The exponents are those of normal numbers."""
    power: Tensor = _PowerOfTwo.apply(exponent)  # type: ignore[no-untyped-call]
    return power


class Thresholds(nn.Module):
    """The thresholds of one twin.

    Args:
        scales: which move.

    Attributes:
        exponents: l of each group of activations, then of each channel of each weight.
        held: how many scales of activations stay as calibrated.
    """

    def __init__(self, scales: MovableScales) -> None:
        super().__init__()
        self.held = scales.held
        self._own = {name: slice(i, i + 1) for i, names in enumerate(scales.together) for name in names}
        start = len(scales.together)
        for name, channels in scales.weights.items():
            self._own[name] = slice(start, start + channels)
            start += channels
        self._products = {
            name: tuple(self._own[factor] for factor in factors if factor in self._own)
            for name, factors in scales.biases.items()
        }
        self.exponents = nn.Parameter(torch.full((start,), _START))

    def __contains__(self, scale: str) -> bool:
        return scale in self._own or scale in self._products

    def moved(self, name: str, values: Shaped[Tensor, " ..."]) -> Shaped[Tensor, " ..."]:
        """A calibrated scale as it is now; a constant that is none stays."""
        for where in (self._own[name],) if name in self._own else self._products.get(name, ()):
            factor = power_of_two_ste(self.exponents[where])
            values = values * (factor.reshape(values.shape) if factor.numel() > 1 else factor.squeeze(0))
        return values

    def to_json(self) -> dict[str, int]:
        """How many thresholds are learned, how many of these now stand for another scale, and how many are held."""
        changed = int((self.exponents.detach().ceil() != 0).sum())
        return {"learned": self.exponents.numel(), "moved": changed, "held": self.held}
