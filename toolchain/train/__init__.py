"""Training and fine-tuning."""

from __future__ import annotations

__all__: list[str] = []
