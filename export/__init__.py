"""nn.Module -> ONNX -> one integer graph -> its differentiable twin; proofs and the bundle writer."""

from __future__ import annotations

__all__: list[str] = []
