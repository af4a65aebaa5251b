"""The studies that ship with the package (TOML files)."""

from __future__ import annotations

__all__: list[str] = []
