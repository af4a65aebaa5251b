"""Factorization of convolutions and linear layers."""

from __future__ import annotations

__all__: list[str] = []
