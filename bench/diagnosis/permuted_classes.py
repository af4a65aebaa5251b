"""Whether a network has the data's classes in another order, told by which class it gives to images of which label.

    sigma* = argmax over one-to-one maps sigma of |{ i : sigma(predicted_i) = label_i }|

the assignment problem (Kuhn 1955), solved by SciPy. A map that is fitted to few images fits them by chance. So the
images of each label are dealt out to two halves, and each half is judged by the map of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ..data.class_order import natural_order

__all__ = ["LEAST_IMAGES", "ClassOrder", "best_order"]

LEAST_IMAGES = 4
"""Images a class, on average, below which two halves say nothing of an order."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClassOrder:
    """Another order of the classes.

    Attributes:
        right: images that would be right in it, each judged by the map of the other half.
        label_of: int64 [K], the label that each of the network's classes stands for.
        seen: bool [K], which of the network's classes were given to an image at all.
    """

    right: int
    label_of: NDArray[np.int64]
    seen: NDArray[np.bool_]

    def describe(self, classes: Sequence[str]) -> str:
        """The order in words, of the data's class names."""
        k = len(classes)
        place = {name: index for index, name in enumerate(classes)}
        known = {
            "sorted by number": [place[name] for name in natural_order(classes)],
            "sorted as text": [place[name] for name in sorted(classes)],
            "reversed": list(range(k))[::-1],
            "shifted by one": [(index - 1) % k for index in range(k)],
            "shifted by one the other way": [(index + 1) % k for index in range(k)],
        }
        for words, order in known.items():
            if (np.array(order)[self.seen] == self.label_of[self.seen]).all():
                return f"{words} ({_listed([classes[label] for label in order])})"
        pairs = [f"{index} is {classes[self.label_of[index]]}" for index in np.flatnonzero(self.seen)]
        return f"the network's class {_listed(pairs)}"


def best_order(predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> ClassOrder | None:
    """The order in which most answers are right.

    Args:
        predicted: the network's answers, int64 [N].
        labels: the right classes, int64 [N].
        classes: K.

    Returns:
        None where there are too few images to tell, or the order is the one that is there.
    """
    if len(labels) < LEAST_IMAGES * len(np.unique(labels)):
        return None
    whole = _fit(predicted, labels, classes)
    seen = np.bincount(predicted, minlength=classes) > 0
    if (whole[seen] == np.flatnonzero(seen)).all():
        return None
    half = np.zeros(len(labels), bool)
    half[np.argsort(labels, kind="stable")[::2]] = True
    right = sum(
        int((_fit(predicted[~judged], labels[~judged], classes)[predicted[judged]] == labels[judged]).sum())
        for judged in (half, ~half)
    )
    return ClassOrder(right=right, label_of=whole, seen=seen)


def _fit(predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """The label that each class stands for in the best map, int64 [K]; of equal maps the one that changes least."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (predicted, labels), 1)
    rows, columns = linear_sum_assignment(counts * (classes + 1) + np.eye(classes, dtype=np.int64), maximize=True)
    found: NDArray[np.int64] = np.empty(classes, np.int64)
    found[rows] = columns
    return found


def _listed(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
