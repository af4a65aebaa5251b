"""What a weight is worth: one file a criterion."""

from __future__ import annotations

__all__: list[str] = []
