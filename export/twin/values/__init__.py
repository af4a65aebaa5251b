"""What travels between the twin's operators."""

from __future__ import annotations

__all__: list[str] = []
