"""What takes the place of a factorized layer."""

from __future__ import annotations

from torch import nn

__all__ = ["Factors"]


class Factors(nn.Sequential):
    """Layers whose product is one layer, in their order."""
