"""Tensor trains against tensorly's TT-SVD and HOOI, and against numpy's SVD."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import tensorly
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensorly.decomposition import partial_tucker, tensor_train
from torch import Tensor

from hardtemper.toolchain.compress.factorization.tensor_train import balanced, contracted, decompose, spectra

SHAPES = st.lists(st.integers(1, 6), min_size=2, max_size=4)


def random(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def full(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(min(math.prod(shape[:k]), math.prod(shape[k:])) for k in range(1, len(shape)))


def error(tensor: Tensor, ranks: tuple[int, ...]) -> float:
    return float((contracted(decompose(tensor, ranks)) - tensor).norm())


@given(shape=SHAPES.map(tuple), seed=st.integers(0, 9))
def test_full_ranks_give_the_tensor(shape: tuple[int, ...], seed: int) -> None:
    tensor = random(shape, seed)
    cores = decompose(tensor, full(shape))
    assert [core.shape[1] for core in cores] == list(shape)
    torch.testing.assert_close(contracted(cores), tensor)
    torch.testing.assert_close(contracted(balanced(cores)), tensor)


@given(shape=SHAPES.map(tuple), seed=st.integers(0, 9), data=st.data())
def test_the_error_is_within_the_bound_and_falls_with_rank(
    shape: tuple[int, ...], seed: int, data: st.DataObject
) -> None:
    tensor, most = random(shape, seed), full(shape)
    rank = data.draw(st.integers(1, max(most)))
    errors = [error(tensor, tuple(min(r, m) for m in most)) for r in range(rank, max(most) + 1)]
    assert all(later <= before + 1e-9 for before, later in itertools.pairwise(errors))
    lost = sum(float(values[min(rank, m) :].sum()) for values, m in zip(spectra(tensor), most, strict=True))
    assert errors[0] ** 2 <= lost + 1e-9  # Oseledets 2011, theorem 2.2


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (1, 4)])
def test_two_cores_are_numpys_svd(shape: tuple[int, ...]) -> None:
    tensor = random(shape)
    u, s, v = np.linalg.svd(tensor.numpy(), full_matrices=False)
    np.testing.assert_allclose(spectra(tensor)[0].sqrt(), s, rtol=1e-6)
    for rank in range(1, len(s) + 1):
        wanted = (u[:, :rank] * s[:rank]) @ v[:rank]
        first, second = balanced(decompose(tensor, (rank,)))
        np.testing.assert_allclose(contracted([first, second]), wanted, atol=1e-9)
        np.testing.assert_allclose(first.norm(dim=(0, 1)).square(), s[:rank], rtol=1e-6)  # each has the root of it
        np.testing.assert_allclose(second.norm(dim=(1, 2)).square(), s[:rank], rtol=1e-6)


@pytest.mark.parametrize(("shape", "ranks"), [((6, 9, 8), (3, 4)), ((5, 3, 4), (2, 2)), ((4, 5, 6), (1, 1))])
def test_three_cores_are_tensorlys_tucker_by_hooi(shape: tuple[int, ...], ranks: tuple[int, ...]) -> None:
    tensor = random(shape)
    (core, factors), _ = partial_tucker(tensor.numpy(), rank=list(ranks), modes=[0, 2], n_iter_max=200, tol=1e-12)
    theirs = np.linalg.norm(tensorly.tenalg.multi_mode_dot(core, factors, modes=[0, 2]) - tensor.numpy())
    assert error(tensor, ranks) == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize(
    ("shape", "ranks"), [((6, 3, 3, 8), (4, 7, 5)), ((4, 5, 6, 7, 3), (3, 6, 9, 3)), ((8, 6), (2,))]
)
def test_no_worse_than_tensorlys_tensor_train(shape: tuple[int, ...], ranks: tuple[int, ...]) -> None:
    tensor = random(shape)
    theirs = tensorly.tt_to_tensor(tensor_train(tensor.numpy(), [1, *ranks, 1]))
    assert error(tensor, ranks) <= np.linalg.norm(theirs - tensor.numpy()) + 1e-9


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_a_tensor_of_low_rank_is_found_exactly(shape: tuple[int, ...]) -> None:
    cores = [
        random(core, k)
        for k, core in enumerate(zip((1, *[2] * (len(shape) - 1)), shape, (*[2] * (len(shape) - 1), 1), strict=True))
    ]
    tensor = contracted(cores)
    assert error(tensor, (2,) * (len(shape) - 1)) < 1e-7 * float(tensor.norm())
    assert all(float(values[2:].sum()) < 1e-12 * float(values.sum()) for values in spectra(tensor))


def test_zeros_stay_zeros() -> None:
    zeros = torch.zeros(3, 4, 5, dtype=torch.float64)
    assert not contracted(balanced(decompose(zeros, (1, 1)))).any()
