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

from ...runtime.errors import InputError
from ...runtime.shapes import Float32, Float64
from ..integer_types import INT8, UINT8, IntegerType
from .targets import TARGETS, Target

__all__ = ["BIAS_LIMIT", "Grid", "Observer", "Scales", "Scheme", "Sums", "weight_scales"]

Scales = Literal["power-of-two", "free"]
Sums = Literal["exact", "plain"]
Observer = Literal["minmax", "histogram", "percentile", "mse"]

BIAS_LIMIT = 2**22
"""Largest integer a bias may take: below 2^24, beyond which float32 cannot hold every integer."""

_MIDDLE = -INT8.low
"""The zero point of a uint8 grid whose integers are int8's, all this much higher."""

_NARROWEST = UINT8.high * 2.0**-64
"""A range below this is as good as none; its scale would leave the normal float32 numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheme:
    """How to quantize.

    Attributes:
        target: what the integers are made for, a name in `TARGETS`.
        scales: `power-of-two` (exact on every backend) or `free`.
        sums: `exact` (the same on ONNX Runtime, x86 and Arm, and on OpenVINO) or `plain` (faster; exact on ONNX Runtime
            and x86, but for Softmax and LayerNormalization, which are then each engine's own: about one of a million of
            their numbers differs by a step). Free scales and the target `tensorrt` know plain residual sums only.
        observer: how the range of an activation is chosen from the calibration images.
        percentile: share of values, in percent, that `percentile` keeps inside the range.
        weight_bits: 8, or 7 for CPUs without VNNI, whose 16-bit sums overflow on uint8 x int8 pairs.

    Raises:
        InputError: no such target.
    """

    target: str = "cpu"
    scales: Scales = "power-of-two"
    sums: Sums = "exact"
    observer: Observer = "mse"
    percentile: float = 99.99
    weight_bits: Literal[7, 8] = 8

    @property
    def exact(self) -> bool:
        """Whether every multiplier is a power of two."""
        return self.scales == "power-of-two"

    @property
    def exact_sums(self) -> bool:
        """Whether no sum rounds, and none is made a part of the convolution before it."""
        return self.sums == "exact" and self.exact and not self.made_for.unrounded_terms

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise InputError("quantize.target", expected=" or ".join(TARGETS), got=repr(self.target))

    @property
    def made_for(self) -> Target:
        """The target, with what differs between targets."""
        return TARGETS[self.target]

    @property
    def activations(self) -> IntegerType:
        """The integers of an activation: 0 to 255, or -128 to 127."""
        return self.made_for.activations

    @property
    def weights(self) -> IntegerType:
        """The integers of a weight, stored as int8; the smallest is left out, so that the range is symmetric."""
        return IntegerType(self.weight_bits, signed=True)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest: what `quantization` holds there."""
        activations = self.activations
        return asdict(self) | {
            "activation_type": activations.name,
            "activation_bits": activations.bits,
            "weight_type": INT8.name,
        }


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
        return (UINT8.high - self.zero_point) * self.scale

    @staticmethod
    def covering(low: float, high: float, *, scheme: Scheme) -> Grid:
        """The finest grid that holds [low, high], and zero exactly.

        Free scales round the zero point, so that either end may lie up to half a step outside.
        """
        low, high = min(low, 0.0), max(high, 0.0)
        if high - low < _NARROWEST:
            low, high = 0.0, scheme.activations.high * 2.0**-8
        symmetric = max(low / INT8.low, high / INT8.high)
        if scheme.activations.signed:
            return Grid(_power_of_two(symmetric) if scheme.exact else float(np.float32(symmetric)), _MIDDLE)
        if not scheme.exact:
            scale = float(np.float32((high - low) / UINT8.high))
            return Grid(scale, int(np.clip(round(-low / scale), UINT8.low, UINT8.high)))
        if low == 0:
            return Grid(_power_of_two(high / UINT8.high), 0)
        return Grid(_power_of_two(symmetric), _MIDDLE)


def weight_scales(
    weight: Float32[npt.NDArray[np.float32], " k *features"],
    bias: Float32[npt.NDArray[np.float32], " k"] | None,
    *,
    input_scale: float,
    scheme: Scheme,
) -> Float32[npt.NDArray[np.float32], " k"]:
    """One scale per output channel (axis 0 of `weight`).

    Power of two: of the covering exponent and the one below it, the one with the smaller squared error. A channel whose
    weights are tiny beside its bias gets a scale at which the bias still fits `BIAS_LIMIT`.
    """
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    limit = scheme.weights.high
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
    rows: Float64[npt.NDArray[np.float64], "k f"], scales: Float64[npt.NDArray[np.float64], " k"], limit: int
) -> Float64[npt.NDArray[np.float64], " k"]:
    s = scales[:, None]
    return np.asarray(((np.clip(np.rint(rows / s), -limit, limit) * s - rows) ** 2).sum(axis=1))
