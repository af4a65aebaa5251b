"""What a quantization does, and the arithmetic of its grids.

    q = clamp(round_half_even(x / s) + z, low, high)        x' = s * (q - z)

`b` bits have 2^b codes, low = 0 and high = 2^b - 1; at zero point 128, low = 128 - 2^(b-1) and high = 127 + 2^(b-1).

Activations are uint8, weights int8 and symmetric per output channel, biases int32 with scale s_x * s_w.

`power-of-two` (default): every s is 2^e, so that multiplying an int32 accumulator by s_x * s_w / s_y is exact in
float32, and z is 0 for tensors without values below zero, 128 otherwise. Float simulation, integer shift and int8
kernel are then one function. `free`: the plain asymmetric scheme, s = (max - min) / 255 and z = round(-min / s)
(Jacob et al. 2018, eq. 12).

For the target `tensorrt` activations are int8 with zero point 0, the only form that its parser takes ("Working with
Quantized Types", NVIDIA TensorRT documentation):

    q = clamp(round_half_even(x / s), -128, 127)

Here that is the uint8 grid of zero point 128, all integers 128 lower.

One bit is {0, s}, whatever the sign of x. But at padding, a network of -1 and +1 is one of these with other biases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ...runtime.errors import InputError
from ..integer_types import INT8, UINT8, IntegerType
from .targets import TARGETS, Target

__all__ = ["Grid", "Observer", "Scales", "Scheme", "Sums", "power_of_two"]

Scales = Literal["power-of-two", "free"]
Sums = Literal["exact", "plain"]
Observer = Literal["minmax", "histogram", "percentile", "mse"]

_PLAIN = 7
"""From so many bits of weights on the ends of a network have as many as the rest."""

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
        weight_bits: of the weights of convolutions and linear layers, 1 to 8; 7 is for CPUs without VNNI, whose 16-bit
            sums overflow on uint8 x int8 pairs.
        activation_bits: of the results that are rounded to integers, 1 to 8.
        end_bits: where fewer are asked, the first and the last layer's weights have so many, and what the last one
            reads.
        layer_weight_bits, layer_activation_bits: other widths by layer name or pattern (`widths.py`); the second is of
            what a layer reads.

    Raises:
        InputError: no such target, or widths that there are not, or not on this target.
    """

    target: str = "cpu"
    scales: Scales = "power-of-two"
    sums: Sums = "exact"
    observer: Observer = "mse"
    percentile: float = 99.99
    weight_bits: int = 8
    activation_bits: int = 8
    end_bits: int = 8
    layer_weight_bits: Mapping[str, int] = field(default_factory=dict)
    layer_activation_bits: Mapping[str, int] = field(default_factory=dict)

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
        for name in ("weight_bits", "activation_bits", "end_bits"):
            _check_bits(name, getattr(self, name))
        for name in ("layer_weight_bits", "layer_activation_bits"):
            for layer, bits in getattr(self, name).items():
                _check_bits(f"{name}.{layer}", bits)
        if self.activations.signed and {self.activation_bits, *self.layer_activation_bits.values()} != {UINT8.bits}:
            raise InputError(
                f"quantize.activation_bits for {self.made_for.engine}",
                expected="8: a clamp of integers is no part of its kernels",
                got="fewer",
                fix="--target cpu, or fewer bits of the weights only",
            )

    @property
    def made_for(self) -> Target:
        """The target, with what differs between targets."""
        return TARGETS[self.target]

    @property
    def activations(self) -> IntegerType:
        """The integers of an activation: 0 to 255, or -128 to 127."""
        return self.made_for.activations

    @property
    def other_weight_bits(self) -> int:
        """Of weights that belong to no layer of the network: one number a channel (`widths.py`)."""
        return self.weight_bits if self.weight_bits >= _PLAIN else INT8.bits

    @property
    def end_weight_bits(self) -> int:
        """Of the first and the last layer."""
        return self.weight_bits if self.weight_bits >= _PLAIN else max(self.end_bits, self.weight_bits)

    @property
    def widest_weight_bits(self) -> int:
        """No weight of the graph has more."""
        return max(self.other_weight_bits, self.end_weight_bits, *self.layer_weight_bits.values(), 0)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest: what `quantization` holds there. The bits are those of the widest integers."""
        return {
            "target": self.target,
            "scales": self.scales,
            "sums": self.sums,
            "observer": self.observer,
            "percentile": self.percentile,
            "activation_type": self.activations.name,
            "activation_bits": self.activations.bits,
            "weight_type": INT8.name,
            "weight_bits": self.widest_weight_bits,
        }


@dataclass(frozen=True, slots=True)
class Grid:
    """Scale, zero point and width of one uint8 tensor; of an int8 tensor once 128 is taken off."""

    scale: float
    zero_point: int
    bits: int = UINT8.bits

    @property
    def lowest(self) -> int:
        """Smallest code."""
        return self.zero_point - (1 << self.bits - 1) if self.zero_point == _MIDDLE else UINT8.low

    @property
    def highest(self) -> int:
        """Largest code."""
        return self.lowest + (1 << self.bits) - 1

    @property
    def low(self) -> float:
        """Smallest real number on the grid."""
        return (self.lowest - self.zero_point) * self.scale

    @property
    def high(self) -> float:
        """Largest real number on the grid."""
        return (self.highest - self.zero_point) * self.scale

    @staticmethod
    def covering(low: float, high: float, *, scheme: Scheme, bits: int = UINT8.bits) -> Grid:
        """The finest grid that holds [low, high], and zero exactly; of one bit, what of it is not below zero.

        Free scales round the zero point, so that either end may lie up to half a step outside.
        """
        low, high = min(low, 0.0) if bits > 1 else 0.0, max(high, 0.0)
        if high - low < _NARROWEST:
            low, high = 0.0, scheme.activations.high * 2.0**-8
        signed, top = IntegerType(bits, signed=True), (1 << bits) - 1
        symmetric = max(low / signed.low, high / max(signed.high, 1))
        if scheme.activations.signed:
            return Grid(power_of_two(symmetric) if scheme.exact else float(np.float32(symmetric)), _MIDDLE)
        if not scheme.exact:
            scale = float(np.float32((high - low) / top))
            return Grid(scale, int(np.clip(round(-low / scale), 0, top)), bits)
        if low == 0:
            return Grid(power_of_two(high / top), 0, bits)
        return Grid(power_of_two(symmetric), _MIDDLE, bits)


def _check_bits(name: str, bits: object) -> None:
    if not isinstance(bits, int) or isinstance(bits, bool) or not 1 <= bits <= INT8.bits:
        wider = isinstance(bits, int) and bits > INT8.bits
        raise InputError(
            f"quantize.{name}",
            expected="1 to 8 bits",
            got=repr(bits),
            fix="8: no engine sums wider products in integers, and their float32 sums differ" if wider else "",
        )


def power_of_two(scale: float) -> float:
    """The smallest 2^e that is not below `scale`, but for its rounding."""
    return float(2.0 ** math.ceil(math.log2(scale) - 1e-9))
