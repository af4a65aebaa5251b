"""Data sets as uint8 arrays, in parts that never overlap."""

from __future__ import annotations

__all__: list[str] = []
