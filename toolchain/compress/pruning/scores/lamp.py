"""Layer-adaptive magnitude: what a weight adds to those that would outlive it in its layer.

    score(u) = w_u^2 / sum of w_v^2 over all v with |w_v| >= |w_u|

Lee et al. 2021 (arXiv:2010.07611), eq. 4; ties go by position, lowest first. The largest weight of each layer has the
score 1, so one threshold for all layers empties none of them.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .magnitude import l2

__all__ = ["lamp"]


def lamp(module: nn.Module, layers: Iterable[str]) -> dict[str, Tensor]:
    """The score of each weight, float64 in the weight's shape, in [0, 1]."""
    return {name: _scores(squares.flatten()).view(squares.shape) for name, squares in l2(module, layers).items()}


def _scores(squares: Tensor) -> Tensor:
    order = squares.argsort(stable=True)
    ascending = squares[order]
    outliving = ascending.flip(0).cumsum(0).flip(0)
    scores = torch.zeros_like(squares)
    scores[order] = torch.where(ascending > 0, ascending / outliving.clamp(min=torch.finfo(squares.dtype).tiny), 0.0)
    return scores
