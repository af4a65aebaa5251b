"""Robust accuracy of an engine: evaluation, alarms, verdicts."""

from __future__ import annotations

__all__: list[str] = []
