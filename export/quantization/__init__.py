"""Where quantizers stand, and with which scales."""

from __future__ import annotations

__all__: list[str] = []
