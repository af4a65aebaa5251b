from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from hardtemper.bench.attacks.black_box.decisions import Decisions, between, bisect, distance
from hardtemper.bench.attacks.threat.threat_model import Norm, ThreatModel

ANY = ThreatModel("linf", 1.0)
IMAGES = hnp.arrays(np.uint8, (2, 1, 3, 3))


def brighter(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Class 1 where the sum of pixels is 100 or more."""
    total = images.reshape(len(images), -1).sum(1, dtype=np.int64)
    return np.stack([np.zeros(len(images)), total - 99.5], 1).astype(np.float32)


@given(x=IMAGES, far=IMAGES, norm=st.sampled_from(["linf", "l2"]), shares=st.tuples(*[st.floats(0, 1)] * 2))
def test_between_goes_from_one_image_to_the_other(x: Any, far: Any, norm: Norm, shares: tuple[float, float]) -> None:
    offsets = np.random.default_rng(0).random(x.shape, np.float32)
    less, more = (between(x, far, np.full(2, share), offsets, norm).astype(int) for share in sorted(shares))
    assert (between(x, far, np.zeros(2), offsets, norm) == x).all()
    assert (between(x, far, np.ones(2), offsets, norm) == far).all()
    assert (abs(less - x) <= abs(more - x)).all()
    assert (abs(less - x) + abs(far - less) == abs(far.astype(int) - x)).all()  # never outside the two


@given(a=IMAGES, b=IMAGES)
def test_distance_is_in_levels(a: Any, b: Any) -> None:
    moves = (a.astype(float) - b).reshape(2, -1)
    assert (distance(a, b, "linf") == np.linalg.norm(moves, np.inf, axis=1)).all()
    assert distance(a, b, "l2") == pytest.approx(np.linalg.norm(moves, axis=1))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_bisection_ends_a_level_from_the_boundary(norm: Norm) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, (6, 1, 4, 4)).astype(np.uint8)
    far = rng.integers(100, 200, x.shape).astype(np.uint8)
    decisions = Decisions(brighter, np.zeros(6, np.int64), ANY, 100)
    found = bisect(decisions, x, far, np.arange(6), norm=norm, rng=rng)
    assert (found.sum((1, 2, 3)) == 100).all()  # a level less, and it would be class 0
    assert (decisions.left >= 100 - 16).all()  # about log2(200 levels * 16 pixels) halvings
    assert (decisions.left < 100 - 8).all()


def test_bisection_stops_where_the_queries_end() -> None:
    x, far = np.zeros((1, 1, 4, 4), np.uint8), np.full((1, 1, 4, 4), 200, np.uint8)
    decisions = Decisions(brighter, np.zeros(1, np.int64), ANY, 3)
    found = bisect(decisions, x, far, np.arange(1), norm="l2", rng=np.random.default_rng(0))
    assert (abs(found - 25.0) < 1).all()  # an eighth of the way: all three answers were 1
    assert decisions.left == [0]


def test_nothing_is_asked_once_the_queries_are_spent() -> None:
    asked = []

    def scores(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(len(images))
        return brighter(images)

    decisions = Decisions(scores, np.zeros(2, np.int64), ANY, 3)
    bright = np.full((7, 1, 4, 4), 99, np.uint8)
    rows = np.array([0, 1, 0, 0, 1, 0, 0])
    assert decisions.fooled(bright, rows).tolist() == [True, True, True, True, True, False, False]
    assert decisions.left.tolist() == [0, 1]
    assert decisions.fooled(bright[:2], np.array([1, 1])).tolist() == [True, False]
    assert not decisions.fooled(bright, rows).any()
    assert asked == [5, 1]
