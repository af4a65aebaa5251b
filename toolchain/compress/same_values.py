"""How far two networks may differ that are the same function: float32 adds up in another order.

|a - b| <= 1e-4 (|b| + max |b|)
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["RELATIVE", "difference"]

RELATIVE = 1e-4


def difference(wanted: Tensor, given: Tensor) -> str:
    """In what `given` differs from `wanted` by more than rounding; "" where it does not."""
    if wanted.shape != given.shape:
        return f"{tuple(given.shape)} for {tuple(wanted.shape)}"
    scale = float(wanted.abs().max())
    if torch.allclose(given, wanted, rtol=RELATIVE, atol=RELATIVE * scale):
        return ""
    return f"a difference of {float((given - wanted).abs().max()):.3g} where values reach {scale:.3g}"
