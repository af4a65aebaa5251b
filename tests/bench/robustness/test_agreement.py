from __future__ import annotations

import math

import numpy as np
import pytest

from hardtemper.bench.robustness.agreement import Agreement, compare

LOGITS = np.array([[1.0, 2.0, 3.0], [0.5, 0.25, -1.0]], np.float32)
HAIR = np.nextafter(np.float32(3), np.float32(4))


@pytest.mark.parametrize(
    ("change", "logits", "classes", "largest"),
    [
        ({}, 0, 0, 0.0),
        ({(0, 2): HAIR}, 1, 0, float(HAIR) - 3),
        ({(0, 0): 9.0}, 1, 1, 8.0),
        ({(0, 0): 9.0, (1, 1): 0.75}, 2, 2, 8.0),
        ({(0, 0): 1.5, (0, 1): 2.5}, 1, 0, 0.5),
        ({(1, 2): np.nan}, 1, 1, math.inf),
        ({(1, 2): -np.inf}, 1, 0, math.inf),
    ],
)
def test_counts_images_not_logits(
    change: dict[tuple[int, int], float], logits: int, classes: int, largest: float
) -> None:
    other = LOGITS.copy()
    for place, value in change.items():
        other[place] = value
    assert compare(LOGITS, other) == Agreement(n=2, logits=logits, classes=classes, largest=largest)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_same_odd_number_agrees(value: float) -> None:
    odd = np.array([[value, 1.0]], np.float32)
    assert compare(odd, odd.copy()).logits == 0


def test_zeros_agree_whatever_their_sign() -> None:
    assert compare(np.array([[0.0]], np.float32), np.array([[-0.0]], np.float32)).logits == 0


def test_total() -> None:
    parts = [Agreement(n=3, logits=1, classes=0, largest=0.5), Agreement(n=4, logits=2, classes=1, largest=0.25)]
    assert Agreement.total(parts) == Agreement(n=7, logits=3, classes=1, largest=0.5)
    assert Agreement.total([]) == Agreement(n=0, logits=0, classes=0, largest=0.0)


def test_measurement_says_nothing_of_an_infinite_difference() -> None:
    found = Agreement(n=5, logits=2, classes=1, largest=math.inf).measurement("clean")
    assert (found.name, found.value, found.n) == ("twin-mismatch", 2, 5)
    assert found.settings == {"on": "clean", "classes": 1, "largest_difference": None}
