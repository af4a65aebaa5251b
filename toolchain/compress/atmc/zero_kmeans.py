"""k-means of numbers on a line with one center that stays at 0 (ATMC, algorithm 1).

    repeat   assign each number to the nearest of {0, a_1, ..., a_B};   a_j <- mean of the numbers assigned to it

Gui et al. 2019 (arXiv:1902.03538). Numbers that are 0 stay 0. The paper starts at nonzero numbers picked at random;
here at quantiles of the nonzero numbers, which needs no random number and leaves no center without numbers at first.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["zero_kmeans"]

_MOST_ROUNDS = 100


def zero_kmeans(numbers: Tensor, clusters: int, *, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The numbers with at most `clusters` different values beside 0.

    Args:
        numbers: float, of any shape.
        clusters: B, at least 1.
        start: centers to start from, [B or fewer]; those of the last call, say.

    Returns:
        The quantized numbers in their shape, and the centers, ascending and without the 0.
    """
    given = numbers.detach().flatten().double()
    present = given[given != 0].sort().values
    if not len(present):
        return torch.zeros_like(numbers), present.to(numbers)
    centers = _quantiles(present, clusters) if start is None or not len(start) else start.double().sort().values
    for _ in range(_MOST_ROUNDS):
        moved = _means(present, centers)
        if torch.equal(moved, centers):
            break
        centers = moved
    values = _with_zero(centers)
    quantized = values[_nearest(given, values)]
    quantized[given == 0] = 0
    return quantized.to(numbers).view_as(numbers), centers.to(numbers)


def _quantiles(present: Tensor, clusters: int) -> Tensor:
    places = (torch.arange(clusters, dtype=torch.float64, device=present.device) + 0.5) / clusters * len(present)
    return _ascending(present[places.long().clamp(max=len(present) - 1)])


def _means(present: Tensor, centers: Tensor) -> Tensor:
    """One round: the mean of every center's numbers; a center without any goes, and so does one at 0."""
    values = _with_zero(centers)
    nearest = _nearest(present, values)
    counts = torch.bincount(nearest, minlength=len(values))
    sums = torch.zeros_like(values).index_add_(0, nearest, present)
    used = (counts > 0) & (values != 0)
    return _ascending(sums[used] / counts[used])


def _with_zero(centers: Tensor) -> Tensor:
    return _ascending(torch.cat([centers, centers.new_zeros(1)]))


def _ascending(numbers: Tensor) -> Tensor:
    different: Tensor = torch.unique(numbers)
    return different


def _nearest(numbers: Tensor, values: Tensor) -> Tensor:
    """The place of the nearest of the ascending values."""
    between = (values[1:] + values[:-1]) / 2
    return torch.bucketize(numbers, between)
