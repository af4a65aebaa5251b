"""What an attacker may change."""

from __future__ import annotations

__all__: list[str] = []
