"""Magnitude: a small weight is worth little.

    l1    |w|        l2    w^2

Of a filter l1 is the l1-norm (Li et al. 2017, arXiv:1608.08710), l2 the square of the l2-norm, which ranks as the norm
does.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

__all__ = ["l1", "l2"]


def l1(module: nn.Module, layers: Iterable[str]) -> dict[str, Tensor]:
    """|w| of each layer, float64 in the weight's shape."""
    return {name: module.get_submodule(name).get_parameter("weight").detach().double().abs() for name in layers}


def l2(module: nn.Module, layers: Iterable[str]) -> dict[str, Tensor]:
    """w^2 of each layer, float64 in the weight's shape."""
    return {name: score.square() for name, score in l1(module, layers).items()}
