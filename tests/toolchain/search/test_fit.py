from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardtemper.toolchain.search.fit import fit


def stairs(scale: float) -> float:
    """Falls in steps, as filters go one by one, and is flat at its end."""
    return float(max(round(1000 * math.exp(-scale)), 50))


@given(st.floats(50, 2000))
def test_the_goal_is_met_and_nearly_used(goal: float) -> None:
    calls: list[float] = []

    def quantity(scale: float) -> float:
        calls.append(scale)
        return stairs(scale)

    found = fit(quantity, goal, largest=60.0)
    assert found is not None
    scale, value = found
    assert value == stairs(scale) <= goal
    assert value >= 0.9 * min(goal, 1000.0)
    assert 0 <= scale <= 60
    assert len(calls) <= 12


def test_nothing_is_removed_where_the_goal_is_met_already() -> None:
    assert fit(stairs, 1000.0, largest=60.0) == (0.0, 1000.0)


def test_a_goal_out_of_reach() -> None:
    assert fit(stairs, 49.9, largest=60.0) is None


@pytest.mark.parametrize("noise", [0.99, 1.01])
def test_noise_leads_to_no_value_above_the_goal(noise: float) -> None:
    turn = iter(range(100))
    found = fit(lambda scale: stairs(scale) * noise ** (next(turn) % 2), 300.0, largest=60.0)
    assert found is not None
    assert found[1] <= 300.0
