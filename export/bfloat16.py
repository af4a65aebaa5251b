"""Whether this processor multiplies bfloat16: AVX512-BF16 or AMX. Elsewhere bfloat16 is emulated, and slow.

The questions are torch.cpu's own, and private: a torch that does not have them means no.
"""

from __future__ import annotations

import torch

__all__ = ["PROBES", "has_bfloat16"]

PROBES = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
"""The names of torch.cpu's questions to the processor."""


def has_bfloat16() -> bool:
    """True where products of bfloat16 numbers with float32 sums are the processor's own."""
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in PROBES)
