"""What is done with a finished bundle."""

from __future__ import annotations

__all__: list[str] = []
