"""Files: hashes, atomic writes, checked JSON and arrays."""

from __future__ import annotations

__all__: list[str] = []
