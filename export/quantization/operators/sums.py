"""Sums of two tensors; a constant term is stored on a grid of its own."""

from __future__ import annotations

from .row import Row

__all__ = ["SUMS"]

SUMS = (Row(operator="Add", handling="requantized", kernel="QLinearAdd"),)
