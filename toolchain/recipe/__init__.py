"""The recipe: everything a build does."""

from __future__ import annotations

__all__: list[str] = []
