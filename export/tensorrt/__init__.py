"""The proved ONNX graph -> a TensorRT engine, and TensorRT's own account of its kernels."""

from __future__ import annotations

__all__: list[str] = []
