"""Which kernels ran, and whether twin and engine agree."""

from __future__ import annotations

__all__: list[str] = []
