"""What adversarial training minimizes: one objective a file."""

from __future__ import annotations

__all__: list[str] = []
