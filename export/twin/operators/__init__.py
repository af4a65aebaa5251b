"""The twin's operators."""

from __future__ import annotations

__all__: list[str] = []
