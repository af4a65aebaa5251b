"""What every backend offers: one compiled classifier behind one protocol."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..shapes import Float32, Shaped

__all__ = ["Backend"]


class Backend(Protocol):
    """One compiled classifier. `run` must be thread-safe."""

    @property
    def name(self) -> str:
        """Who computes: "onnxruntime", "openvino" or "tensorrt"."""

    @property
    def input_dtype(self) -> str:
        """What `run` takes: "uint8" for pixels, or "float32" for pixels / 255."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""

    @property
    def batch(self) -> int | None:
        """The one batch size that `run` takes, or None where it takes any from 1."""

    @property
    def classes(self) -> int:
        """K."""

    def run(self, images: Shaped[NDArray[Any], "n c h w"]) -> Float32[NDArray[np.float32], "n k"]:
        """Logits [N, K] of contiguous images [N, C, H, W] of type `input_dtype`."""
