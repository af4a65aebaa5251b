"""What a bench run hands back, as objects, text and files."""

from __future__ import annotations

__all__: list[str] = []
