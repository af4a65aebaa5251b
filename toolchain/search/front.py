"""The Pareto front of a search: the points that no other one beats.

a beats b    cost(a) <= cost(b), accuracy(a) >= accuracy(b), and one of the two is strict
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["pareto_front"]

Point = TypeVar("Point")


def pareto_front(
    points: Iterable[Point], *, cost: Callable[[Point], float], accuracy: Callable[[Point], float]
) -> list[Point]:
    """The points that none beats, by ascending cost; the first of those that are equal in both.

    Args:
        points: any.
        cost: less is better.
        accuracy: more is better.
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (cost(point), -accuracy(point))):
        if not front or accuracy(point) > accuracy(front[-1]):
            front.append(point)
    return front
