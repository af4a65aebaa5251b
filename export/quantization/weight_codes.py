"""The integers of a weight tensor: one scale per output channel, symmetric codes.

    n = clamp(round_half_even(w / s), -h, h),   h = 2^(b-1) - 1      b = 2 to 8 bits
    n = +1 where w >= 0, else -1                                     b = 1

The scale of a channel is that of least squared error among some below the one that covers it: two powers of two from 7
bits on (and with free scales the covering one alone), eight and more of fewer bits, where a covering scale would round
most weights to zero. For one bit the best scale is mean |w| (Rastegari et al. 2016, XNOR-Net, eq. 6); the power of two
next to it has the least error, which is (s - mean |w|)^2 but for a constant.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...runtime.shapes import Float32, Float64
from .scheme import Scheme, power_of_two

__all__ = ["BIAS_LIMIT", "weight_codes", "weight_limit", "weight_scales"]

BIAS_LIMIT = 2**22
"""Largest integer a bias may take: below 2^24, beyond which float32 cannot hold every integer."""

_PLAIN = 7
"""From so many bits on, hardly any weight is rounded to zero by a covering scale."""

_Rows = Float64[npt.NDArray[np.float64], "k f"]
_Channels = Float64[npt.NDArray[np.float64], " k"]


def weight_limit(bits: int) -> int:
    """The largest code of `bits`, 1 to 8; the smallest is its negative."""
    return max((1 << bits - 1) - 1, 1)


def weight_codes(
    weight: Float32[npt.NDArray[np.float32], " k *features"],
    scales: Float32[npt.NDArray[np.float32], " k"],
    *,
    bits: int,
) -> npt.NDArray[np.int8]:
    """The codes [K, ...] of a weight, given one scale per output channel."""
    return _codes(weight, scales.reshape(-1, *[1] * (weight.ndim - 1)), bits).astype(np.int8)


def weight_scales(
    weight: Float32[npt.NDArray[np.float32], " k *features"],
    bias: Float32[npt.NDArray[np.float32], " k"] | None,
    *,
    input_scale: float,
    scheme: Scheme,
    bits: int,
) -> Float32[npt.NDArray[np.float32], " k"]:
    """One scale per output channel (axis 0 of `weight`).

    A channel whose weights are tiny beside its bias gets a scale at which the bias still fits `BIAS_LIMIT`.
    """
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    limit = weight_limit(bits)
    largest = np.abs(rows).max(axis=1)
    largest[largest < 2.0**-64] = 2.0**-24  # a dead channel: any scale does
    least = np.zeros(len(rows)) if bias is None else np.abs(bias.astype(np.float64)) / (input_scale * BIAS_LIMIT)
    cover = np.maximum(largest / limit, least)
    if scheme.exact:
        cover = np.array([power_of_two(scale) for scale in cover])
    candidates = [cover * share for share in _shares(scheme, bits)]
    errors = [np.where(scales < least, np.inf, _squared_error(rows, scales, bits)) for scales in candidates]
    return np.asarray(np.choose(np.argmin(errors, axis=0), candidates), np.float32)


def _shares(scheme: Scheme, bits: int) -> list[float]:
    """Of the covering scale; among equals the first is taken."""
    if scheme.exact:
        return [2.0**-k for k in range(2 if bits >= _PLAIN else 16 - bits)]
    return [1.0] if bits >= _PLAIN else list(np.geomspace(1, 0.02, 30))


def _squared_error(rows: _Rows, scales: _Channels, bits: int) -> _Channels:
    s = scales[:, None]
    return np.asarray(((_codes(rows, s, bits) * s - rows) ** 2).sum(axis=1))


def _codes(weight: npt.NDArray[np.floating], scales: npt.NDArray[np.floating], bits: int) -> npt.NDArray[np.floating]:
    if bits == 1:
        return np.where(weight >= 0, 1.0, -1.0)
    return np.clip(np.rint(weight / scales), -weight_limit(bits), weight_limit(bits))
