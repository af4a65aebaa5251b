from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linprog, minimize

from hardtemper.bench.attacks.threat.norms import length
from hardtemper.bench.attacks.white_box.fab_projections import onto_hyperplane

POINTS = hnp.arrays(np.float64, (5, 7), elements=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)))
NORMALS = hnp.arrays(np.float64, (5, 7), elements=st.one_of(st.just(0.0), st.floats(-2, -0.01), st.floats(0.01, 2)))
HEIGHTS = hnp.arrays(np.float64, (5,), elements=st.floats(-4, 4))
NORMS: Any = ["linf", "l2", "l1"]


def shortest(x: np.ndarray, w: np.ndarray, height: float, norm: str) -> float:
    """The length of the shortest move by a solver that knows nothing of the problem; infinite if there is none."""
    size = len(x)
    box = list(zip(-x, 1 - x, strict=True))
    if norm == "l2":
        # What a linear solver says of feasibility is exact.
        if shortest(x, w, height, "l1") == np.inf:
            return np.inf
        found = minimize(
            lambda d: d @ d,
            -x * 0,
            jac=lambda d: 2 * d,
            bounds=box,
            constraints={"type": "eq", "fun": lambda d: w @ d + height, "jac": lambda d: w},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        return float(np.sqrt(found.fun))
    # Bounds t on the moves: one for all of them (linf), or one each (l1).
    bounds = np.ones((size, 1)) if norm == "linf" else np.eye(size)
    extra = bounds.shape[1]
    solved = linprog(
        np.r_[np.zeros(size), np.ones(extra)],
        A_ub=np.block([[np.eye(size), -bounds], [-np.eye(size), -bounds]]),
        b_ub=np.zeros(2 * size),
        A_eq=np.r_[w, np.zeros(extra)][None],
        b_eq=[-height],
        bounds=box + [(0, None)] * extra,
    )
    return float(solved.fun) if solved.status == 0 else np.inf


@pytest.mark.parametrize("norm", NORMS)
def test_is_the_shortest_move(norm: Any) -> None:
    rng = np.random.default_rng(0)
    unreachable = 0
    for scale in (0.3, 1.0, 3.0):
        x = rng.uniform(size=(12, 7))
        x[rng.random(x.shape) < 0.3] = 0
        w, height = rng.normal(size=(12, 7)), scale * rng.normal(size=12)
        moves = onto_hyperplane(*map(torch.from_numpy, (x, w, height)), norm).numpy()
        for row in range(12):
            best = shortest(x[row], w[row], float(height[row]), norm)
            if best == np.inf:
                unreachable += 1
                edge = np.where(w[row] * height[row] > 0, -x[row], 1 - x[row])
                np.testing.assert_allclose(moves[row], edge)
            else:
                assert abs(w[row] @ moves[row] + height[row]) < 1e-9
                assert float(length(torch.from_numpy(moves[row]), norm)) == pytest.approx(best, abs=2e-6)
    assert 0 < unreachable < 30


@pytest.mark.parametrize("norm", NORMS)
@given(x=POINTS, w=NORMALS, height=HEIGHTS)
def test_stays_in_the_box_and_moves_one_way(norm: Any, x: np.ndarray, w: np.ndarray, height: np.ndarray) -> None:
    moves = onto_hyperplane(*map(torch.from_numpy, (x, w, height)), norm).numpy()
    assert (x + moves >= -1e-12).all()
    assert (x + moves <= 1 + 1e-12).all()
    assert (moves * w * height[:, None] <= 0).all()
    gained = -(w * moves).sum(1) * np.sign(height)
    most = (abs(w) * np.where(w * height[:, None] > 0, x, 1 - x)).sum(1) * (height != 0)
    np.testing.assert_allclose(gained, np.minimum(abs(height), most), atol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_scale_of_the_normal_does_not_matter(norm: Any, scale: float) -> None:
    torch.manual_seed(0)
    x, w, height = torch.rand(4, 9), torch.randn(4, 9), torch.randn(4)
    torch.testing.assert_close(onto_hyperplane(x, w * scale, height * scale, norm), onto_hyperplane(x, w, height, norm))


@pytest.mark.parametrize("norm", NORMS)
def test_no_normal_no_move(norm: Any) -> None:
    assert not onto_hyperplane(torch.rand(2, 3), torch.zeros(2, 3), torch.ones(2), norm).any()


@pytest.mark.parametrize("norm", NORMS)
def test_points_share_their_normals(norm: Any) -> None:
    torch.manual_seed(0)
    x, w, height = torch.rand(2, 4, 9), torch.randn(4, 9), torch.randn(2, 4)
    each = torch.stack([onto_hyperplane(x[k], w, height[k], norm) for k in range(2)])
    torch.testing.assert_close(onto_hyperplane(x, w, height, norm), each)
