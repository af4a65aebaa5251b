"""How many singular values of each bond are kept.

By energy e: the smallest r of each bond whose r largest squared singular values are at least e of their sum.
By parameters: the largest e whose ranks do not cost more than the budget, so that all bonds of a layer lose about the
same share of their energy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["ranks_by_energy", "ranks_by_parameters"]


def ranks_by_energy(spectra: Sequence[Tensor], sizes: Sequence[int], energy: float) -> tuple[int, ...]:
    """One rank a bond, each at least 1.

    Args:
        spectra: of `tensor_train.spectra`.
        sizes: of the tensor's axes; a bond needs no more channels than come from its left or from its right.
        energy: 0 < energy <= 1.
    """
    return _at([_kept(values) for values in spectra], sizes, energy)


def ranks_by_parameters(
    spectra: Sequence[Tensor], sizes: Sequence[int], budget: int, *, parameters: Callable[[tuple[int, ...]], int]
) -> tuple[int, ...] | None:
    """The ranks of most energy that cost at most `budget`; None where rank 1 costs more.

    Args:
        spectra, sizes: as in `ranks_by_energy`.
        budget: number of parameters.
        parameters: what ranks cost.
    """
    kept = [_kept(values) for values in spectra]
    for energy in sorted(set(torch.cat(kept).tolist()), reverse=True):
        ranks = _at(kept, sizes, energy)
        if parameters(ranks) <= budget:
            return ranks
    return None


def _kept(values: Tensor) -> Tensor:
    """The share of the energy in the first r, for r = 1, 2, ...; of zeros alone, the first is all."""
    total = values.sum()
    return values.cumsum(0) / total if total > 0 else torch.ones_like(values)


def _at(kept: Sequence[Tensor], sizes: Sequence[int], energy: float) -> tuple[int, ...]:
    ranks = [min(int(torch.searchsorted(shares, energy)) + 1, len(shares)) for shares in kept]
    for k in range(1, len(ranks)):
        ranks[k] = min(ranks[k], ranks[k - 1] * sizes[k])
    for k in range(len(ranks) - 2, -1, -1):
        ranks[k] = min(ranks[k], sizes[k + 1] * ranks[k + 1])
    return tuple(ranks)
