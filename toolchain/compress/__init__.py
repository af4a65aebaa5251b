"""Compressions: each takes a module and gives a physically smaller one, with a report layer by layer."""

from __future__ import annotations

__all__: list[str] = []
