"""Why a clean accuracy is what it is: whether network and data fit, and what would make them fit."""

from __future__ import annotations

__all__: list[str] = []
