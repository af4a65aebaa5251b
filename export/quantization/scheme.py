"""What a quantization does, and the arithmetic of its grids.

    q = clamp(round_half_even(x / s) + z, 0, 255)        x' = s * (q - z)

Activations are uint8, weights int8 and symmetric per output channel, biases int32 with scale s_x * s_w.

`power-of-two` (default): every s is 2^e, so that multiplying an int32 accumulator by s_x * s_w / s_y is exact in
float32, and z is 0 for tensors without values below zero, 128 otherwise. Float simulation, integer shift and int8
kernel are then one function. `free`: the plain asymmetric scheme, s = (max - min) / 255 and z = round(-min / s)
(Jacob et al. 2018, eq. 12).

For the target `tensorrt` activations are int8 with zero point 0, the only form that its parser takes ("Working with
Quantized Types", NVIDIA TensorRT documentation):

    q = clamp(round_half_even(x / s), -128, 127)

Here that is the uint8 grid of zero point 128, all integers 128 lower.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["BIAS_LIMIT", "Grid", "Observer", "Scales", "Scheme", "Target", "weight_scales"]

Target = Literal["cpu", "tensorrt"]
Scales = Literal["power-of-two", "free"]
Observer = Literal["minmax", "histogram", "percentile", "mse"]

BIAS_LIMIT = 2**22
"""Largest integer a bias may take: below 2^24, beyond which float32 cannot hold every integer."""

_NARROWEST = 255 * 2.0**-64
"""A range below this is as good as none; its scale would leave the normal float32 numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheme:
    """How to quantize.

    Attributes:
        target: `cpu` (uint8 activations) or `tensorrt` (int8 activations of zero point 0; a convolution that a sum
            reads is not rounded before it).
        scales: `power-of-two` (exact on every backend) or `free`.
        observer: how the range of an activation is chosen from the calibration images.
        percentile: share of values, in percent, that `percentile` keeps inside the range.
        weight_bits: 8, or 7 for CPUs without VNNI, whose 16-bit sums overflow on uint8 x int8 pairs.
    """

    target: Target = "cpu"
    scales: Scales = "power-of-two"
    observer: Observer = "mse"
    percentile: float = 99.99
    weight_bits: Literal[7, 8] = 8

    @property
    def exact(self) -> bool:
        """Whether every multiplier is a power of two."""
        return self.scales == "power-of-two"

    @property
    def signed(self) -> bool:
        """Whether activations are int8 of zero point 0."""
        return self.target == "tensorrt"

    @property
    def activation_limit(self) -> int:
        """Largest integer of an activation: 127 or 255."""
        return 127 if self.signed else 255

    @property
    def weight_limit(self) -> int:
        """Largest magnitude of an integer weight: 127 or 63."""
        return (1 << (self.weight_bits - 1)) - 1

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest: what `quantization` holds there."""
        activations = "int8" if self.signed else "uint8"
        return asdict(self) | {"activation_type": activations, "activation_bits": 8, "weight_type": "int8"}


@dataclass(frozen=True, slots=True)
class Grid:
    """Scale and zero point of one uint8 tensor; of an int8 tensor once 128 is taken off."""

    scale: float
    zero_point: int

    @property
    def low(self) -> float:
        """Smallest real number on the grid."""
        return -self.zero_point * self.scale

    @property
    def high(self) -> float:
        """Largest real number on the grid."""
        return (255 - self.zero_point) * self.scale

    @staticmethod
    def covering(low: float, high: float, *, scheme: Scheme) -> Grid:
        """The finest grid that holds [low, high], and zero exactly.

        Free scales round the zero point, so that either end may lie up to half a step outside.
        """
        low, high = min(low, 0.0), max(high, 0.0)
        if high - low < _NARROWEST:
            low, high = 0.0, scheme.activation_limit * 2.0**-8
        if scheme.signed:
            step = max(-low / 128, high / 127)
            return Grid(_power_of_two(step) if scheme.exact else float(np.float32(step)), 128)
        if not scheme.exact:
            scale = float(np.float32((high - low) / 255))
            return Grid(scale, int(np.clip(round(-low / scale), 0, 255)))
        step = high / 255 if low == 0 else max(-low / 128, high / 127)
        return Grid(_power_of_two(step), 0 if low == 0 else 128)


def weight_scales(
    weight: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32] | None,
    *,
    input_scale: float,
    scheme: Scheme,
) -> npt.NDArray[np.float32]:
    """One scale per output channel (axis 0 of `weight`).

    Power of two: of the covering exponent and the one below it, the one with the smaller squared error. A channel whose
    weights are tiny beside its bias gets a scale at which the bias still fits `BIAS_LIMIT`.
    """
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    limit = scheme.weight_limit
    largest = np.abs(rows).max(axis=1)
    largest[largest < 2.0**-64] = 2.0**-24  # a dead channel: any scale does
    if bias is not None:
        largest = np.maximum(largest, limit * np.abs(bias.astype(np.float64)) / (input_scale * BIAS_LIMIT))
    if not scheme.exact:
        return np.asarray(largest / limit, np.float32)
    cover = np.array([_power_of_two(scale) for scale in largest / limit])
    errors = [_squared_error(rows, scale, limit) for scale in (cover, cover / 2)]
    fits = np.ones(len(rows), bool) if bias is None else np.abs(bias) <= input_scale * cover / 2 * BIAS_LIMIT
    return np.where((errors[1] < errors[0]) & fits, cover / 2, cover).astype(np.float32)


def _power_of_two(scale: float) -> float:
    """The smallest 2^e that is not below `scale`, but for its rounding."""
    return float(2.0 ** math.ceil(math.log2(scale) - 1e-9))


def _squared_error(
    rows: npt.NDArray[np.float64], scales: npt.NDArray[np.float64], limit: int
) -> npt.NDArray[np.float64]:
    s = scales[:, None]
    return np.asarray(((np.clip(np.rint(rows / s), -limit, limit) * s - rows) ** 2).sum(axis=1))
