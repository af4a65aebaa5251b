"""Attention: products of two computed tensors, queries with keys and probabilities with values.

    y = round(s_a s_b / s_y * sum_k (q_a - z_a)(q_b - z_b)) + z_y     QLinearMatMul (core/providers/cpu/quantization)

Sums of products are int32, so no two engines differ. A constant operand is stored on a grid of its own. Between the two
products stands a Softmax (`normalizations.py`).
"""

from __future__ import annotations

from .row import Row

__all__ = ["ATTENTION"]

ATTENTION = (Row(operator="MatMul", handling="requantized", kernel="QLinearMatMul"),)
