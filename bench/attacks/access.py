"""What an attacker may ask: a differentiable model (white-box), or an engine's scores (black-box)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Model", "Pixels", "Scores"]

Model = Callable[[Tensor], Tensor]
"""float32 images [N, C, H, W] in [0, 1] -> logits [N, K]."""

Pixels = NDArray[np.uint8]
"""uint8 images [N, C, H, W]."""

Scores = Callable[[Pixels], NDArray[np.float32]]
"""uint8 images [N, C, H, W] -> logits [N, K]."""
