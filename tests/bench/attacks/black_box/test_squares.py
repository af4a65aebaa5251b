from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hardtemper.bench.attacks.black_box.squares import LinfSquares, LpSquares, _eta, squares_in
from hardtemper.bench.attacks.threat.threat_model import ThreatModel


def images(channels: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    drawn = np.random.default_rng(seed).integers(-60, 316, (6, channels, height, width))
    return drawn.clip(0, 255).astype(np.uint8)  # a third of the pixels at 0 or 255


def changed(candidate: NDArray[np.uint8], best: NDArray[np.uint8]) -> NDArray[np.bool_]:
    different: NDArray[np.bool_] = (candidate != best).any(1)
    return different


@given(
    st.sampled_from(["linf:0.1", "linf:1/255", "linf:1", "l2:0.5", "l2:3", "l2:0.01", "l1:5", "l1:60", "l1:0.01"]),
    st.sampled_from([(1, 8, 8), (3, 9, 7), (3, 3, 12), (2, 1, 1)]),
    st.integers(1, 12),
    st.integers(0, 2**32),
)
def test_every_candidate_is_in_the_ball(text: str, shape: tuple[int, int, int], side: int, seed: int) -> None:
    threat = ThreatModel.parse(text)
    x = images(*shape, seed=seed)
    squares = squares_in(threat, np.random.default_rng(seed))
    best = squares.start(x)
    for _ in range(4):
        assert best.dtype == np.uint8
        assert best.shape == x.shape
        assert threat.contains(best, x).all()
        best = squares.propose(x, best, min(side, *shape[1:]))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [1, 4])
def test_linf_moves_one_window_to_the_corners_of_the_ball(channels: int, side: int) -> None:
    x = images(channels, 10, 12)
    squares = LinfSquares(ThreatModel("linf", 0.1), np.random.default_rng(0))
    low, high = np.maximum(x.astype(int) - 25, 0), np.minimum(x.astype(int) + 25, 255)
    best = squares.start(x)
    assert ((best == low) | (best == high)).all()
    where = np.zeros(x.shape[2:], bool)
    for _ in range(300):
        candidate = squares.propose(x, best, side)
        assert ((candidate == low) | (candidate == high)).all()
        for window in changed(candidate, best):
            rows, columns = np.nonzero(window)
            assert len(rows)  # no query is wasted
            assert np.ptp(rows) < side
            assert np.ptp(columns) < side
        where |= changed(candidate, best).any(0)
        best = candidate
    assert where.all()  # windows reach every pixel, the last row and column too


def test_linf_windows_have_one_sign_a_channel() -> None:
    x = np.full((50, 3, 8, 8), 128, np.uint8)
    squares = LinfSquares(ThreatModel("linf", 0.1), np.random.default_rng(0))
    candidate = squares.propose(x, x, 5).astype(int) - 128
    assert set(np.unique(candidate)) == {-25, 0, 25}
    assert all(len(np.unique(channel[channel != 0])) == 1 for image in candidate for channel in image)
    assert (np.abs(candidate).sum((2, 3)) == 25 * 25).all()  # 5 x 5 pixels, 25 levels


@pytest.mark.parametrize("threat", [ThreatModel("l2", 1.5), ThreatModel("l1", 9.0)], ids=str)
@pytest.mark.parametrize(("channels", "height", "width"), [(1, 28, 28), (3, 32, 32), (3, 16, 24)])
def test_lp_spends_the_budget(threat: ThreatModel, channels: int, height: int, width: int) -> None:
    x = np.random.default_rng(0).integers(100, 156, (6, channels, height, width)).astype(np.uint8)
    squares = LpSquares(threat, np.random.default_rng(0))
    best, changes = squares.start(x), []
    for _ in range(20):
        moved = np.abs(best.astype(int) - x)
        spent = (moved**2 if threat.norm == "l2" else moved).sum((1, 2, 3)) / threat.pixel_radius
        assert (spent > (0.98 if threat.norm == "l2" else 0.8)).all()  # a tail below half a level is rounded away
        candidate = squares.propose(x, best, 5)
        changes.append(changed(candidate, best).any((1, 2)).mean())
        best = candidate
    # The projection onto an l1 ball can take back all of a window, as it does in the published code.
    assert np.mean(changes) >= (1 if threat.norm == "l2" else 0.4)


def test_l2_windows_are_odd_and_of_three_pixels_at_least() -> None:
    x = np.full((40, 1, 16, 16), 128, np.uint8)
    for side, odd in ((1, 3), (2, 3), (4, 5), (16, 16)):
        moved = changed(LpSquares(ThreatModel("l2", 20), np.random.default_rng(0)).propose(x, x, side), x)
        extents = [np.ptp(np.nonzero(window.any(axis))[0]) + 1 for window in moved for axis in (0, 1)]
        assert max(extents) == odd


@pytest.mark.parametrize("side", [3, 5, 7, 8])
def test_eta_is_two_halves_of_opposite_sign(side: int) -> None:
    squares = LpSquares(ThreatModel("l2", 1), np.random.default_rng(0))
    patterns = squares._signed_eta(64, 2, side)
    assert patterns.shape == (64, 2, side, side)
    np.testing.assert_allclose(np.square(patterns).sum((2, 3)), 1, rtol=1e-5)
    kinds = {pattern.tobytes() for pattern in patterns.reshape(-1, side, side)}
    assert len(kinds) == 4  # upright or lying, plus or minus
    upright = next(p for p in patterns.reshape(-1, side, side) if p[0, 0] > 0 and (p[: side // 2] > 0).all())
    assert (upright[side // 2 :] < 0).all()


def published_rectangle(x: int, y: int, p: int) -> NDArray[np.float64]:
    """AutoAttack's `SquareAttack.eta_rectangles`, transcribed."""
    delta = np.zeros((x, y))
    x_c, y_c = x // 2 + 1, y // 2 + 1
    corner = [x_c - 1, y_c - 1]
    for counter in range(max(x_c, y_c)):
        rows = slice(max(corner[0], 0), min(corner[0] + 2 * counter + 1, x))
        columns = slice(max(0, corner[1]), min(corner[1] + 2 * counter + 1, y))
        delta[rows, columns] += 1 / (counter + 1) ** (2 if p == 2 else 4)
        corner[0] -= 1
        corner[1] -= 1
    return delta / (np.abs(delta) ** p).sum() ** (1 / p)


@pytest.mark.parametrize("side", range(1, 16))
@pytest.mark.parametrize("p", [1, 2])
def test_eta_is_the_published_one(p: int, side: int) -> None:
    if side == 1:  # there half of it is nothing, which the published code divides by its length
        expected = np.full((1, 1), -1.0)
    else:
        expected = np.concatenate(
            (published_rectangle(side // 2, side, p), -published_rectangle(side - side // 2, side, p))
        )
        expected /= (np.abs(expected) ** p).sum() ** (1 / p)
    np.testing.assert_allclose(_eta(side, p), expected, rtol=1e-5)


def test_eta_is_the_sum_in_the_paper() -> None:
    # Equation 2 on the half of 2 x 5 pixels of a window of 5: the centre is (1, 2), distances 0, 1, 2.
    squares = LpSquares(ThreatModel("l2", 1), np.random.default_rng(0))
    patterns = squares._signed_eta(64, 1, 5)[:, 0]
    upright = next(p for p in patterns if (p[:2] > 0).all())
    near, middle, far = 1 + 1 / 4 + 1 / 9, 1 / 4 + 1 / 9, 1 / 9
    expected = np.array([[far, middle, middle, middle, far], [far, middle, near, middle, far]])
    np.testing.assert_allclose(upright[:2] / upright[1, 2], expected / near, rtol=1e-5)
