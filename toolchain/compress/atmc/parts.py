"""The tensors that ATMC's constraints are about: U, V and C of every layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .sum_of_product import SumOfProduct

__all__ = ["gradients", "hold_constants", "parts"]


def parts(module: nn.Module, layers: Sequence[str]) -> list[Tensor]:
    """U, V and C of each `SumOfProduct`, and the weight of each other layer: views of the parameters."""
    found: list[Tensor] = []
    for name in layers:
        layer = module.get_submodule(name)
        if isinstance(layer, SumOfProduct):
            found += layer.parts(*layer.weights)
        else:
            found.append(layer.get_parameter("weight"))
    return found


def gradients(module: nn.Module, layers: Sequence[str]) -> list[Tensor | None]:
    """The gradients of the same, in the same order: views; None for what has none."""
    found: list[Tensor | None] = []
    for name in layers:
        layer = module.get_submodule(name)
        if not isinstance(layer, SumOfProduct):
            found.append(layer.get_parameter("weight").grad)
            continue
        first, second = (weight.grad for weight in layer.weights)
        found += [None] * 3 if first is None or second is None else layer.parts(first, second)
    return found


def hold_constants(module: nn.Module) -> None:
    """Put the constant parts of all layers back."""
    for layer in module.modules():
        if isinstance(layer, SumOfProduct):
            layer.hold_identity()
