"""What an ONNX file holds, read and judged before ONNX Runtime sees it."""

from __future__ import annotations

__all__: list[str] = []
