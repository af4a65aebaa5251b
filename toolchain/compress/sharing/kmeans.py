"""k-means of numbers, from linearly spaced bins, and its centers on the grid of integers.

    C <- linspace(min w, max w, k);   until C stays: each w to its nearest c, each c to the mean of its w

Lloyd's algorithm as in deep compression with adversarial robustness via decision boundary smoothing, algorithm 6
(Han et al. 2016, arXiv:1510.00149, section 3). Numbers that are sorted lie in their clusters as intervals, so one step
takes k binary searches and a prefix sum, whatever n is. A center without numbers goes to the number that is farthest
from its own center, as in scikit-learn.

A code book holds whole numbers, all different: the centers, rounded. Where two of them round to one, the code follows
that takes most of the squared error away, until the book is full or holds every code there is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["codebook", "kmeans", "nearest"]

_Numbers = npt.NDArray[np.float64]
_MOST_STEPS = 300  # of Lloyd's algorithm: scikit-learn's own limit


def kmeans(numbers: _Numbers, count: int) -> _Numbers:
    """The centers, ascending; fewer than `count` where the numbers are fewer different ones.

    Args:
        numbers: [n], n >= 1.
        count: how many centers, 1 or more.
    """
    ordered = np.sort(numbers)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centers = np.linspace(ordered[0], ordered[-1], count)
    for _ in range(_MOST_STEPS):
        bounds = _bounds(ordered, centers)
        sizes = np.diff(bounds)
        moved = np.where(sizes > 0, np.diff(sums[bounds]) / np.maximum(sizes, 1), centers)
        moved = np.sort(_relocated(ordered, moved, bounds))
        if np.array_equal(moved, centers):
            break
        centers = moved
    return centers[np.diff(_bounds(ordered, centers)) > 0]


def codebook(numbers: _Numbers, count: int, *, zero: bool) -> npt.NDArray[np.int64]:
    """At most `count` different whole numbers, ascending.

    Args:
        numbers: [n], n >= 1, in units of the codes.
        count: how many codes: 1 or more, and 2 or more with `zero`.
        zero: 0 is one of them, whatever the numbers are.
    """
    own = np.rint(numbers).astype(np.int64)
    held = [0] if zero else []
    codes = np.unique(own)
    book = np.union1d(np.rint(kmeans(numbers, count - zero)).astype(np.int64), held).astype(np.int64)
    while len(book) < min(count, len(np.union1d(codes, held))):
        errors = np.bincount(own - codes[0], (numbers - book[nearest(numbers, book)]) ** 2)[codes - codes[0]]
        errors[np.isin(codes, book)] = -1
        book = np.sort(np.append(book, codes[errors.argmax()]))
    return book


def nearest(numbers: _Numbers, book: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The place in an ascending code book of each number's nearest code, of two as near the lower one."""
    return np.searchsorted((book[1:] + book[:-1]) / 2, numbers, side="left")


def _bounds(ordered: _Numbers, centers: _Numbers) -> npt.NDArray[np.int64]:
    """Where the clusters begin and end."""
    inner = np.searchsorted(ordered, (centers[1:] + centers[:-1]) / 2, side="right")
    return np.concatenate([[0], inner, [len(ordered)]])


def _relocated(ordered: _Numbers, centers: _Numbers, bounds: npt.NDArray[np.int64]) -> _Numbers:
    """Centers without numbers go to those numbers that are farthest from theirs: first or last of a cluster."""
    sizes = np.diff(bounds)
    empty, full = np.flatnonzero(sizes == 0), np.flatnonzero(sizes)
    if not len(empty):
        return centers
    ends = np.concatenate([ordered[bounds[full]], ordered[bounds[full + 1] - 1]])
    distances = np.abs(ends - np.tile(centers[full], 2))
    farthest = np.argsort(-distances, kind="stable")[: len(empty)]
    farthest = farthest[distances[farthest] > 0]
    centers = centers.copy()
    centers[empty[: len(farthest)]] = ends[farthest]
    return centers
