"""k-means of numbers against other people's, and code books of whole numbers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.vq import kmeans2

from hardtemper.toolchain.compress.sharing.kmeans import codebook, kmeans, nearest


def error(numbers: Any, centers: Any) -> float:
    return float(((numbers[:, None] - np.asarray(centers)) ** 2).min(axis=1).sum())


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_the_centers_are_scipys(count: int) -> None:
    """Uniform numbers leave no center without numbers, so both take the same steps."""
    numbers = np.random.default_rng(0).uniform(-90, 110, 3000)
    start = np.linspace(numbers.min(), numbers.max(), count)
    found, _ = kmeans2(numbers[:, None], start[:, None], iter=300, minit="matrix")
    np.testing.assert_allclose(kmeans(numbers, count), np.sort(found[:, 0]), atol=1e-6)


def test_by_hand() -> None:
    assert kmeans(np.array([0.0, 1, 10, 11]), 2).tolist() == [0.5, 10.5]
    assert kmeans(np.array([3.0, 3, 3]), 2).tolist() == [3]
    # the bins at 0, 5 and 10 leave the middle one empty: it goes to the number farthest from its center
    assert kmeans(np.array([0.0, 0, 0, 1.5, 10]), 3).tolist() == [0, 1.5, 10]


@given(st.lists(st.integers(-20, 20), min_size=3, max_size=8), st.integers(2, 3))
def test_no_step_away_lowers_the_error(values: list[int], count: int) -> None:
    """The centers are the means of their own numbers; no worse than the bins that they start from."""
    numbers = np.array(values, np.float64)
    centers = kmeans(numbers, count)
    assert error(numbers, centers) <= error(numbers, np.linspace(numbers.min(), numbers.max(), count)) + 1e-9
    own = np.abs(numbers[:, None] - centers).argmin(axis=1)
    for k in set(own):
        assert centers[k] == pytest.approx(numbers[np.isclose(centers[own], centers[k])].mean())


@settings(max_examples=60)
@given(st.lists(st.integers(-9, 9), min_size=4, max_size=9), st.integers(2, 3), st.booleans())
def test_a_book_against_all_books(values: list[int], count: int, zero: bool) -> None:
    """Whole, different, as many as asked for; its error within a factor of the best of all books."""
    numbers = np.array([value for value in values if value] or [1], np.float64)
    book = codebook(numbers, count, zero=zero)
    codes = np.union1d(numbers, [0]) if zero else np.unique(numbers)
    assert book.dtype == np.int64
    assert len(book) == len(set(book.tolist())) == min(count, len(codes))
    assert 0 in book or not zero
    assert numbers.min() <= book[-1]
    assert min(book) >= min(numbers.min(), 0)
    places = nearest(numbers, book)
    assert np.array_equal(np.abs(numbers - book[places]), np.abs(numbers[:, None] - book).min(axis=1))
    every = itertools.combinations(range(-9, 10), len(book))
    best = min(error(numbers, other) for other in every if 0 in other or not zero)
    assert error(numbers, book) >= best
    if len(book) == len(codes):
        assert error(numbers, book) == best == 0


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6])
def test_the_error_falls_with_the_bits_and_a_book_of_every_code_is_exact(bits: int, zero: bool) -> None:
    numbers = np.random.default_rng(1).laplace(size=5000).clip(-6, 6) * 20
    numbers = numbers[np.rint(numbers) != 0]
    smaller, larger = (codebook(numbers, 2**n, zero=zero) for n in (bits, bits + 1))
    assert (len(smaller), len(larger)) == (2**bits, 2 ** (bits + 1))
    assert error(numbers, larger) < error(numbers, smaller)
    assert codebook(np.rint(numbers), 256, zero=zero).tolist() == sorted({*np.rint(numbers), *([0] if zero else [])})


def test_ties_go_to_the_lower_code() -> None:
    assert nearest(np.array([-1.0, 0.5, 1.5, 9]), np.array([0, 1, 2])).tolist() == [0, 0, 1, 2]
    assert nearest(np.array([5.0]), np.array([3])).tolist() == [0]
