"""The front against its definition, over all pairs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hardtemper.toolchain.search.front import pareto_front

Point = tuple[float, float]
few = st.integers(0, 6).map(float)  # so that ties are frequent


def beats(a: Point, b: Point) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@given(st.lists(st.tuples(few, few), max_size=12))
def test_the_points_that_none_beats(points: list[Point]) -> None:
    front = pareto_front(points, cost=lambda point: point[0], accuracy=lambda point: point[1])
    assert set(front) == {point for point in points if not any(beats(other, point) for other in points)}
    assert front == sorted(set(front))  # each once, by ascending cost


def test_of_equal_points_the_first_stays() -> None:
    points = [("first", 1.0, 0.5), ("second", 1.0, 0.5)]
    assert pareto_front(points, cost=lambda point: point[1], accuracy=lambda point: point[2]) == points[:1]
