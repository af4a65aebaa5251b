"""Products of two tensors, as gates have them: [N, C, H, W] with [N, C, 1, 1]; a constant is stored on its own grid.

    y = round(n_a n_b s_a s_b / s_y + z)      QLinearMul (onnxruntime/core/mlas/lib/qlmul.cpp)

The zero point goes in before the rounding: it must be even.
"""

from __future__ import annotations

from .row import Row

__all__ = ["PRODUCTS"]

PRODUCTS = (Row(operator="Mul", handling="requantized", kernel="QLinearMul"),)
