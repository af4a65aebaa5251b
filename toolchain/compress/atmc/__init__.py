"""Adversarially trained model compression."""

from __future__ import annotations

__all__: list[str] = []
