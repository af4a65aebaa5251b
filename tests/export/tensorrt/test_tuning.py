"""The choice by measurement, with times that are made up."""

from __future__ import annotations

import math

import pytest

from hardtemper.export.tensorrt.tuning import Placement, fastest_placement

ALL = Placement()


def times(placement: Placement, gains: dict[str, float]) -> float:
    """1 ms less what each choice that is turned round gains."""
    return 1 - sum(gain for name, gain in gains.items() if not getattr(placement, name))


@pytest.mark.parametrize(
    ("gains", "best"),
    [
        ({}, ALL),
        ({"planes": 0.1}, Placement(planes=False)),
        (
            {"planes": -0.1, "integer_logits": 0.05, "early_pools": 0.3},
            Placement(integer_logits=False, early_pools=False),
        ),
        ({"planes": 0.01, "early_pools": -0.2}, ALL),  # one percent is within the scatter
        ({"planes": math.nan}, ALL),
    ],
)
def test_the_fastest_is_kept(gains: dict[str, float], best: Placement) -> None:
    built: list[Placement] = []

    def build(placement: Placement) -> tuple[str, Placement]:
        built.append(placement)
        return "engine", placement

    chosen, engine, tried = fastest_placement(build, lambda made: times(made[1], gains))
    assert chosen == best
    assert engine == ("engine", best)
    assert len(tried) == len(built) == 4
    assert tried.keys() == {str(placement) for placement in built}
    assert built[0] == ALL


def test_what_fails_the_gate_is_infinitely_slow() -> None:
    slow = {str(ALL): 1.0}
    chosen, _, tried = fastest_placement(lambda p: p, lambda p: slow.get(str(p), math.inf))
    assert chosen == ALL
    assert list(tried.values()) == [1.0, math.inf, math.inf, math.inf]


def test_it_starts_where_it_is_told() -> None:
    first = Placement(planes=False)
    chosen, _, _ = fastest_placement(lambda p: p, lambda p: 1.0, first=first)
    assert chosen == first
    assert str(chosen) == "no planes, integer logits, early pools"
