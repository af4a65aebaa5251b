"""Which operators integers can go through, one family a file; `matrix.py` is all of them."""

from __future__ import annotations

__all__: list[str] = []
