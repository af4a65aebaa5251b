"""What computes: one module or folder for each backend, behind one protocol."""

from __future__ import annotations

__all__: list[str] = []
