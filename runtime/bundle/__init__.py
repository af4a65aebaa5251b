"""A bundle: its manifest and its files."""

from __future__ import annotations

__all__: list[str] = []
