"""Recipe -> train -> compress -> fine-tune -> lower -> bundle, and the command line."""

from __future__ import annotations

__all__: list[str] = []
