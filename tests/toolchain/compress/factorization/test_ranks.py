"""Ranks by energy and by parameters, by hand and against trying them all."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hardtemper.toolchain.compress.factorization.ranks import ranks_by_energy, ranks_by_parameters
from hardtemper.toolchain.compress.factorization.tensor_train import spectra

VALUES = (torch.tensor([4.0, 3.0, 2.0, 1.0]), torch.tensor([9.0, 1.0, 0.0]))
SIZES = (4, 9, 3)


def random(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("energy", "ranks"), [(0.1, (1, 1)), (0.4, (1, 1)), (0.41, (2, 1)), (0.9, (3, 1)), (0.91, (4, 2)), (1.0, (4, 2))]
)
def test_by_energy(energy: float, ranks: tuple[int, ...]) -> None:
    assert ranks_by_energy(VALUES, SIZES, energy) == ranks


@pytest.mark.parametrize(
    ("budget", "ranks"), [(1, None), (2, (1, 1)), (3, (2, 1)), (4, (3, 1)), (5, (3, 1)), (6, (4, 2))]
)
def test_by_parameters(budget: int, ranks: tuple[int, ...] | None) -> None:
    assert ranks_by_parameters(VALUES, SIZES, budget, parameters=sum) == ranks


def test_a_bond_has_no_more_channels_than_come_from_either_side() -> None:
    flat = (torch.tensor([1.0, 0.0]), torch.ones(6), torch.ones(6), torch.tensor([1.0]))
    assert ranks_by_energy(flat, (2, 3, 9, 6, 1), 1.0) == (1, 3, 6, 1)


def test_zeros_need_one_channel() -> None:
    assert ranks_by_energy([torch.zeros(3)], (3, 3), 1.0) == (1,)
    assert ranks_by_parameters([torch.zeros(3)], (3, 3), 1, parameters=sum) == (1,)


@given(shape=st.tuples(st.integers(1, 6), st.integers(1, 6)), seed=st.integers(0, 9), budget=st.integers(1, 40))
def test_of_one_bond_the_largest_rank_that_fits(shape: tuple[int, int], seed: int, budget: int) -> None:
    def cost(ranks: tuple[int, ...]) -> int:
        return ranks[0] * sum(shape)

    found = ranks_by_parameters(spectra(random(shape, seed)), shape, budget, parameters=cost)
    fitting = [rank for rank in range(1, min(shape) + 1) if rank * sum(shape) <= budget]
    assert found == ((max(fitting),) if fitting else None)


@given(seed=st.integers(0, 20), budget=st.integers(10, 150))
def test_of_two_bonds_no_other_ranks_that_fit_keep_more_of_what_the_weaker_keeps(seed: int, budget: int) -> None:
    shape = (5, 4, 6)
    values = spectra(random(shape, seed))

    def cost(ranks: tuple[int, ...]) -> int:
        return 5 * ranks[0] + 4 * ranks[0] * ranks[1] + 6 * ranks[1]

    def weaker(ranks: tuple[int, ...]) -> float:
        return min(float(s[:rank].sum() / s.sum()) for s, rank in zip(values, ranks, strict=True))

    found = ranks_by_parameters(values, shape, budget, parameters=cost)
    fitting = [ranks for ranks in itertools.product(range(1, 6), range(1, 7)) if cost(ranks) <= budget]
    assert (found is None) == (not fitting)
    if found is not None:
        assert cost(found) <= budget
        assert weaker(found) == pytest.approx(max(weaker(ranks) for ranks in fitting))
