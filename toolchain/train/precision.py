"""In which precision a float module multiplies while it is trained.

bfloat16 products with float32 sums halve the time of a convolution where the processor has them (AVX512-BF16, AMX, or a
GPU); weights, batch norm statistics and the optimizer stay in float32. Where it has not, bfloat16 is emulated and slow.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch

from ...export.bfloat16 import has_bfloat16

__all__ = ["autocast", "resolve"]


def resolve(precision: str, device: str = "cpu") -> str:
    """`auto` -> `bfloat16` or `float32` on this machine."""
    if precision != "auto":
        return precision
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if has_bfloat16() else "float32"


def autocast(precision: str, device: str = "cpu") -> Callable[[], AbstractContextManager[object]]:
    """What makes the context to compute in."""
    if resolve(precision, device) == "float32":
        return nullcontext
    return partial(torch.autocast, device, dtype=torch.bfloat16)
