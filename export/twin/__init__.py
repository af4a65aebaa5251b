"""The twin: the ONNX graph as a differentiable module."""

from __future__ import annotations

__all__: list[str] = []
