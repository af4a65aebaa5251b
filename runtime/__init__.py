"""Reads a bundle and runs it: numpy and onnxruntime, nothing else."""

from __future__ import annotations

__all__: list[str] = []
