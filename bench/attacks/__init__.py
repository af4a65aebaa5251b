"""Adversarial attacks on differentiable models and on engines, one a file."""

from __future__ import annotations

__all__: list[str] = []
