from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from hardtemper.bench.attacks.threat import l1_ball


def drawn(seed: int, d: int = 6) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """A centre, some of it on the faces of the box, a direction, some of it zero, and a radius."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-0.3, 1.3, d).clip(0, 1)
    direction = rng.normal(size=d) * rng.integers(0, 4, d)
    return x, direction, float(rng.uniform(0.01, 3))


def as_rows(*arrays: NDArray[np.float64]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(array)[None] for array in arrays)


def highest(direction: NDArray[np.float64], x: NDArray[np.float64], epsilon: float) -> float:
    """max direction . (z - x) over [0, 1]^d with ||z - x||_1 <= epsilon, as a linear program in z - x = p - q."""
    d = len(x)
    bounds = [(0, 1 - xi) for xi in x] + [(0, xi) for xi in x]
    solution = linprog(np.concatenate((-direction, direction)), np.ones((1, 2 * d)), [epsilon], bounds=bounds)
    return -float(solution.fun)


@pytest.mark.parametrize("seed", range(40))
def test_projection_is_the_nearest_point(seed: int) -> None:
    # z is the point of a convex set nearest to u if and only if (u - z) . (z' - z) <= 0 for all z' of the set.
    x, direction, epsilon = drawn(seed)
    u = x + direction
    z = l1_ball.project(*as_rows(u, x), epsilon)[0].numpy()
    assert highest(u - z, x, epsilon) <= (u - z) @ (z - x) + 1e-9


@given(st.integers(0, 2**32), st.sampled_from([1, 2, 7, 200]), st.sampled_from([torch.float32, torch.float64]))
def test_projection_stays_inside_and_moves_nothing_that_is(seed: int, d: int, dtype: torch.dtype) -> None:
    x, direction, epsilon = drawn(seed, d)
    (centre, u) = (row.to(dtype) for row in as_rows(x, x + direction))
    found = l1_ball.project(u, centre, epsilon)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    assert (found >= 0).all()
    assert (found <= 1).all()
    assert (found - centre).abs().sum() <= epsilon + tolerance
    torch.testing.assert_close(l1_ball.project(found, centre, epsilon), found, rtol=0, atol=tolerance)
    if (u.clamp(0, 1) - centre).abs().sum() <= epsilon:
        assert torch.equal(found, u.clamp(0, 1))


@pytest.mark.parametrize("seed", range(20))
def test_steepest_ascent_is_the_optimum_of_a_linear_program(seed: int) -> None:
    x, gradient, length = drawn(seed)
    step = l1_ball.ascend_in_box(*as_rows(x, gradient), length)[0].numpy() - x
    assert np.abs(step).sum() <= length + 1e-12
    assert (step[gradient == 0] == 0).all()
    assert step @ gradient == pytest.approx(highest(gradient, x, length))


def test_steps_shared_alike() -> None:
    x = torch.full((3, 4), 0.5)
    grad = torch.tensor([[4.0, -3.0, 2.0, 1.0], [0.0, 0.0, -1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    step = l1_ball.ascend_evenly(x, grad, torch.tensor([[0.3], [0.3], [0.3]]), torch.tensor([3, 2, 1])) - x
    expected = torch.tensor([[0.1, -0.1, 0.1, 0.0], [0.0, 0.0, -0.3, 0.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(step, expected)
