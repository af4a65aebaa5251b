"""The twin's layers in 8-bit kernels."""

from __future__ import annotations

__all__: list[str] = []
