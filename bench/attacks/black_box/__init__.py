"""Attacks that ask for scores or decisions only."""

from __future__ import annotations

__all__: list[str] = []
