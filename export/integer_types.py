"""The integers that a quantized tensor holds, by their bits: the limits 255, 127 and -128 are asked for here.

unsigned: 0 .. 2^bits - 1        signed: -2^(bits - 1) .. 2^(bits - 1) - 1

The 255 that an image in [0, 1] is multiplied by is no limit: it is what a pixel is (`runtime/pixels.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["INT8", "UINT8", "IntegerType"]


@dataclass(frozen=True, slots=True)
class IntegerType:
    """Integers of so many bits."""

    bits: int
    signed: bool

    @property
    def low(self) -> int:
        """The smallest."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """The largest."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def name(self) -> str:
        """As numpy and ONNX call the type that stores it: "uint8", "int8"."""
        return f"{'int' if self.signed else 'uint'}{self.bits}"


UINT8 = IntegerType(8, signed=False)
INT8 = IntegerType(8, signed=True)
