"""What every form of factorization is: a way to see a layer's weight as an array, and layers for the array's cores."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from .factors import Factors

__all__ = ["Form", "filled"]

Made = TypeVar("Made", nn.Conv2d, nn.Linear)


class Form(ABC):
    """A layer as a tensor train."""

    @property
    @abstractmethod
    def sizes(self) -> tuple[int, ...]:
        """Of the array's axes, one a core; at least 2."""

    @abstractmethod
    def array(self, weight: Tensor) -> Tensor:
        """The layer's weight as an array of `sizes`."""

    @abstractmethod
    def weight(self, array: Tensor) -> Tensor:
        """The weight again: the inverse of `array`."""

    @abstractmethod
    def factors(self, cores: Sequence[Tensor], layer: Any) -> Factors:
        """Layers for the cores, in place of `layer`: its bias is added behind the last.

        Args:
            cores: [r(k-1), d(k), r(k)], one for each of `sizes`.
            layer: a convolution or linear layer whose weight `array` takes.
        """

    def without_full_ranks(self, ranks: tuple[int, ...]) -> tuple[Form, tuple[int, ...]]:
        """The form and ranks in which a core that would be square is part of its neighbor, where that needs less."""
        return self, ranks

    def parameters(self, ranks: tuple[int, ...]) -> int:
        """Numbers in the cores."""
        form, (*left,) = self.without_full_ranks(ranks)
        return sum(math.prod(core) for core in zip((1, *left), form.sizes, (*left, 1), strict=True))


def filled(made: Made, weight: Tensor, layer: nn.Conv2d | nn.Linear) -> Made:
    """A factor with its weight, and with the bias of `layer` if it has one; in the mode of `layer`.

    Args:
        made: on the device "meta", so that no random number was drawn for values that are replaced.
        weight: of the shape that `made` has.
        layer: the layer that is factorized.
    """
    made.weight = nn.Parameter(weight.to(layer.weight).contiguous(), requires_grad=layer.weight.requires_grad)
    if made.bias is not None and layer.bias is not None:
        made.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=layer.bias.requires_grad)
    return made.train(layer.training)
