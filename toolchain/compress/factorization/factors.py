"""What takes the place of a factorized layer."""

from __future__ import annotations

from torch import nn

__all__ = ["Factors", "put"]


class Factors(nn.Sequential):
    """Layers whose product is one layer, in their order."""


def put(network: nn.Module, name: str, factors: Factors) -> None:
    """Put `factors` where the layer is, under each of its names."""
    layer = network.get_submodule(name)
    for path, found in list(network.named_modules(remove_duplicate=False)):
        if found is layer:
            owner, _, child = path.rpartition(".")
            setattr(network.get_submodule(owner), child, factors)
