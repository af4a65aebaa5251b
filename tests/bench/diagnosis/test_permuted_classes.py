from __future__ import annotations

import itertools

import numpy as np
import pytest

from hardtemper.bench.diagnosis.permuted_classes import best_order

RNG = np.random.default_rng(0)
NAMES = ("1", "10", "11", "2", "3")


def answers(label_of: list[int], n: int = 100, wrong: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """What a network says whose class k stands for the data's label `label_of[k]`."""
    labels = RNG.integers(0, len(label_of), n)
    predicted = np.argsort(label_of)[labels]
    return np.where(RNG.random(n) < wrong, RNG.integers(0, len(label_of), n), predicted), labels


@pytest.mark.parametrize(
    ("label_of", "words"),
    [
        ([0, 3, 4, 1, 2], "sorted by number (1, 2, 3, 10, 11)"),
        ([4, 3, 2, 1, 0], "reversed (3, 2, 11, 10, 1)"),
        ([4, 0, 1, 2, 3], "shifted by one (3, 1, 10, 11, 2)"),
        ([1, 2, 3, 4, 0], "shifted by one the other way (10, 11, 2, 3, 1)"),
        ([1, 0, 2, 4, 3], "the network's class 0 is 10, 1 is 1, 2 is 11, 3 is 3, 4 is 2"),
    ],
)
def test_the_order_is_found_and_named(label_of: list[int], words: str) -> None:
    predicted, labels = answers(label_of)
    order = best_order(predicted, labels, 5)
    assert order is not None
    assert order.label_of.tolist() == label_of
    assert order.right == (np.array(label_of)[predicted] == labels).sum()
    assert order.describe(NAMES) == words


def test_numbers_in_names_are_numbers() -> None:
    predicted, labels = answers([0, 2, 1])
    order = best_order(predicted, labels, 3)
    assert order is not None
    assert order.describe(("b1", "b3", "b20")) == "sorted as text (b1, b20, b3)"
    assert order.describe(("b1", "b20", "b3")) == "sorted by number (b1, b3, b20)"


def test_the_order_that_is_there_is_no_other() -> None:
    assert best_order(*answers([0, 1, 2, 3, 4]), 5) is None


def test_too_few_images_say_nothing() -> None:
    assert best_order(np.array([1, 0, 1]), np.array([0, 1, 0]), 2) is None


def test_chance_is_not_fitted() -> None:
    """The best map of 10 classes onto 60 random answers gets far more than a tenth of those it was fitted to."""
    predicted, labels = RNG.integers(0, 10, (2, 60))
    fitted = max(
        (np.array(order)[predicted] == labels).sum()
        for order in itertools.islice(itertools.permutations(range(10)), 0, 400_000, 97)
    )
    order = best_order(predicted, labels, 10)
    assert order is not None
    assert order.right < fitted
    assert order.right < 0.25 * 60


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_the_map_is_the_best_of_all(classes: int) -> None:
    predicted, labels = RNG.integers(0, classes, (2, 200))
    order = best_order(predicted, labels, classes)
    maps = list(itertools.permutations(range(classes)))
    best = max((np.array(one)[predicted] == labels).sum() for one in maps)
    if order is None:
        assert (predicted == labels).sum() == best
    else:
        assert (order.label_of[predicted] == labels).sum() == best
