"""ZeroKmeans: a hand-computed case, brute force on small ones, scipy's k-means, and what projections promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.vq import kmeans2

from hardtemper.toolchain.compress.atmc.zero_kmeans import zero_kmeans

NUMBERS = st.lists(st.floats(-10, 10, allow_nan=False, width=32), min_size=1, max_size=40)


def test_by_hand() -> None:
    quantized, centers = zero_kmeans(torch.tensor([0.0, 0.1, 2.0, 2.2, -3.0, -3.2]), 2)
    torch.testing.assert_close(quantized, torch.tensor([0.0, 0.0, 2.1, 2.1, -3.1, -3.1]))
    torch.testing.assert_close(centers, torch.tensor([-3.1, 2.1]))


@given(NUMBERS, st.integers(1, 8))
def test_few_values_and_zeros_stay(values: list[float], clusters: int) -> None:
    numbers = torch.tensor(values)
    quantized, centers = zero_kmeans(numbers, clusters)
    assert quantized.shape == numbers.shape
    assert len(quantized[quantized != 0].unique()) <= clusters
    assert (quantized[numbers == 0] == 0).all()
    again, _ = zero_kmeans(quantized, clusters, start=centers)
    torch.testing.assert_close(again, quantized)


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=7), st.integers(1, 2))
def test_it_ends_where_no_assignment_of_one_number_is_better(values: list[int], clusters: int) -> None:
    """A local optimum, as Lloyd's algorithm promises; never better than the best of all partitions."""
    numbers = torch.tensor(values, dtype=torch.float64)
    quantized, _ = zero_kmeans(numbers, clusters)
    present = numbers[numbers != 0]
    best = float("inf")
    for groups in itertools.product(range(clusters + 1), repeat=len(present)):
        chosen = torch.tensor(groups, dtype=torch.long)
        error = float((present[chosen == 0] ** 2).sum())
        for group in range(1, clusters + 1):
            own = present[chosen == group]
            error += float(((own - own.mean()) ** 2).sum()) if len(own) else 0.0
        best = min(best, error)
    found = float(((quantized - numbers) ** 2).sum())
    assert found >= best - 1e-9
    allowed = torch.cat([quantized.unique(), torch.zeros(1, dtype=torch.float64)]).unique()
    nearest = (present[:, None] - allowed).abs().min(1).values
    assert (nearest <= (quantized[numbers != 0] - present).abs() + 1e-9).all()


def test_error_falls_with_the_number_of_values() -> None:
    torch.manual_seed(0)
    numbers = torch.randn(5000)
    errors = [float((zero_kmeans(numbers, 2**bits)[0] - numbers).square().mean()) for bits in range(1, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3 < errors[0]


def test_as_near_as_scipy() -> None:
    """With a center that scipy may move, on numbers that lie symmetric about 0 and so keep it there."""
    rng = np.random.default_rng(0)
    half = rng.normal(0, 1, 2000)
    numbers = np.concatenate([half, -half])
    ours = float(((zero_kmeans(torch.from_numpy(numbers), 8)[0].numpy() - numbers) ** 2).mean())
    centers, labels = kmeans2(numbers[:, None], 9, minit="++", iter=100, rng=0)
    theirs = float(((centers[labels, 0] - numbers) ** 2).mean())
    assert ours == pytest.approx(theirs, rel=0.1)


def test_nothing_but_zeros() -> None:
    quantized, centers = zero_kmeans(torch.zeros(3, 2), 4)
    assert not quantized.any()
    assert len(centers) == 0
