"""Tensors side by side, which come to one grid; a constant one is stored on its own."""

from __future__ import annotations

from .row import Row

__all__ = ["JOINS"]

JOINS = (Row(operator="Concat", handling="requantized", kernel="QLinearConcat"),)
