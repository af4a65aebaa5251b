"""Measures a model or an engine: data, attacks, latency, memory, accuracy, robust accuracy."""

from __future__ import annotations

__all__: list[str] = []
