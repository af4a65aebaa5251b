from __future__ import annotations

import numpy as np
import pytest

from hardtemper.bench.diagnosis.chance import far_more, near_chance, one_answer


@pytest.mark.parametrize(
    ("right", "n", "classes", "near"),
    [
        (10, 96, 5, True),
        (0, 100, 10, True),
        (1000, 10000, 10, True),
        (5, 1000, 1000, True),
        (50, 100, 2, True),
        (0, 1, 5, False),
        (1, 1, 5, False),
        (1, 2, 5, False),
        (0, 3, 2, False),
        (5, 10, 2, False),
        (30, 100, 10, False),
        (80, 100, 10, False),
        (70, 100, 2, False),
    ],
)
def test_a_handful_of_images_is_never_near_chance(right: int, n: int, classes: int, near: bool) -> None:
    assert near_chance(right, n, classes) is near


def test_one_answer_to_everything_needs_images_that_it_gets_wrong() -> None:
    labels = np.array([0] * 92 + [1] * 8)
    assert one_answer(np.zeros(100, np.int64), labels)
    assert not one_answer(np.zeros(99, np.int64), labels[:99])
    assert not one_answer(np.arange(100) % 2, labels)


@pytest.mark.parametrize(
    ("found", "before", "more"), [(90, 0.2, True), (50, 0.2, False), (70, 0.6, False), (0, 0, False)]
)
def test_a_third_of_the_errors_must_go(found: int, before: float, more: bool) -> None:
    assert far_more(found, before, np.arange(100) % 5) is more


def test_guessing_the_most_frequent_class_is_no_merit() -> None:
    assert not far_more(90, 0.05, np.array([0] * 90 + [1] * 10))
    assert not far_more(100, 0.0, np.zeros(100, np.int64))
