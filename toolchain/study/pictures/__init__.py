"""What a study draws of its finished networks, beside the picture of its table."""

from __future__ import annotations

__all__: list[str] = []
