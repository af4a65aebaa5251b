"""TensorRT: engines in a cache, opened and run."""

from __future__ import annotations

__all__: list[str] = []
