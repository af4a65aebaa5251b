"""Searches compressions under a measured budget."""

from __future__ import annotations

__all__: list[str] = []
