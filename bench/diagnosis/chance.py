"""When a clean accuracy says that network and data do not fit, and when another one is far more.

Of n images of K classes, k are right; [low, high] is the 95 % Wilson interval of k / n.

    near chance   <=>  low <= 1/K + 0.05  and  high < (1 + 1/K) / 2  and  n >= 8
    one answer    <=>  every image gets the same class, and 8 of them or more are of others
    far more      <=>  low' > b + (1 - b) / 3,  b = max(share before, share of the most frequent class)

The other bounds keep a handful of images, which say nothing, from looking like chance. A share is far more than another
one if a third of the errors go at least, and what guessing the most frequent class gives is no merit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..measurement import wilson

__all__ = ["far_more", "near_chance", "one_answer"]

_MARGIN = 0.05
_FEW = 8


def near_chance(right: int, n: int, classes: int) -> bool:
    """Whether `right` of `n` images is what guessing among `classes` gives, or less."""
    low, high = wilson(right, n)
    return n >= _FEW and low <= 1 / classes + _MARGIN and high < (1 + 1 / classes) / 2


def one_answer(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> bool:
    """Whether the network says the same of every image, whatever it shows; int64 [N] both."""
    return len(np.unique(predicted)) == 1 and int((predicted != labels).sum()) >= _FEW


def far_more(found: int, before: float, labels: NDArray[np.int64]) -> bool:
    """Whether `found` right answers to images with these labels [N] are far more than a share `before`, in [0, 1]."""
    base = max(before, float(np.bincount(labels).max()) / len(labels))
    return wilson(found, len(labels))[0] > base + (1 - base) / 3
