from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hardtemper.bench.attacks.threat.geometry import ball_of
from hardtemper.bench.attacks.threat.threat_model import ThreatModel

LINF = st.one_of(st.floats(0, 1), st.integers(0, 255).map(lambda k: k / 255))
THREATS = st.from_type(ThreatModel)  # as registered in conftest.py
PIXELS = hnp.arrays(np.uint8, (3, 1, 3, 4), elements=st.one_of(st.sampled_from([0, 1, 254, 255]), st.integers(0, 255)))
POINTS = hnp.arrays(np.float32, (3, 1, 3, 4), elements=st.floats(0, 1, width=32))


@given(THREATS, PIXELS, POINTS)
def test_to_pixels_never_leaves_the_ball(threat: ThreatModel, pixels: np.ndarray, points: np.ndarray) -> None:
    x, x_adv = torch.from_numpy(pixels), torch.from_numpy(points)
    for start in (x_adv, ball_of(threat).project(x_adv, x.float() / 255), x.float() / 255):
        adversarial = ball_of(threat).to_pixels(start, x)
        assert adversarial.dtype == torch.uint8
        assert threat.contains(adversarial.numpy(), pixels).all()
        radius = 255 * Fraction(threat.epsilon)
        for image, original in zip(adversarial.tolist(), pixels.tolist(), strict=True):
            moves = [a - b for a, b in zip(np.ravel(image).tolist(), np.ravel(original).tolist(), strict=True)]
            if threat.norm == "linf":
                assert max(map(abs, moves)) <= radius + Fraction(1, 10**6)
            elif threat.norm == "l1":
                assert sum(map(abs, moves)) <= radius + Fraction(1, 10**6)
            else:
                assert sum(move * move for move in moves) <= radius**2 + Fraction(1, 10**5)


@given(LINF, PIXELS, POINTS)
def test_linf_pixels_are_the_nearest_allowed(epsilon: float, pixels: np.ndarray, points: np.ndarray) -> None:
    threat = ThreatModel("linf", epsilon)
    found = ball_of(threat).to_pixels(torch.from_numpy(points), torch.from_numpy(pixels)).numpy().ravel()
    levels = np.arange(256)
    for level, q, point in zip(found, pixels.ravel().astype(int), points.ravel().astype(np.float64), strict=True):
        allowed = levels[abs(levels - q) <= threat.pixel_radius]
        assert abs(level - 255 * point) <= abs(allowed - 255 * point).min() + 1e-4


@given(st.sampled_from(["l2", "l1"]), st.floats(0, 4), PIXELS, POINTS)
def test_pixels_move_by_rounding_only(norm: Any, epsilon: float, pixels: np.ndarray, points: np.ndarray) -> None:
    threat = ThreatModel(norm, epsilon)
    x = torch.from_numpy(pixels)
    inside = ball_of(threat).project(torch.from_numpy(points).double(), x.double() / 255)
    exact = (inside * 255 - x).flatten(1)
    moved = (ball_of(threat).to_pixels(inside, x).double() - x).flatten(1)
    rounded, towards = exact.round(), exact.trunc()
    left = (rounded.square() if norm == "l2" else rounded.abs()).sum(1) > threat.pixel_radius
    assert torch.equal(moved[~left], rounded[~left])
    assert ((moved == rounded) | ((moved - towards).abs() < 1e-6)).all()
    assert ((moved - exact).square().sum(1) <= (towards - exact).square().sum(1) + 1e-6).all()


def test_l2_rounds_the_cheapest_pixel_back() -> None:
    x = torch.zeros(1, 1, 1, 3, dtype=torch.uint8)
    x_adv = torch.tensor([3.9, 2.6, 0.2]).view(1, 1, 1, 3) / 255  # rounds to 4, 3, 0: 25 > 4.7^2 = 22.1 = pixel_radius
    threat = ThreatModel("l2", 4.7 / 255)
    assert ball_of(threat).to_pixels(x_adv, x).flatten().tolist() == [4, 2, 0]
    # l1: 4 + 3 > 6.7 and one level is one level, so the one whose rounding error grows least goes back
    assert ball_of(ThreatModel("l1", 6.7 / 255)).to_pixels(x_adv, x).flatten().tolist() == [4, 2, 0]


@given(THREATS, PIXELS, POINTS)
def test_to_pixels_is_idempotent(threat: ThreatModel, pixels: np.ndarray, points: np.ndarray) -> None:
    x = torch.from_numpy(pixels)
    once = ball_of(threat).to_pixels(torch.from_numpy(points), x)
    assert torch.equal(ball_of(threat).to_pixels(once.float() / 255, x), once)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_broken_numbers_are_the_original(norm: str) -> None:
    x = torch.full((2, 1, 2, 2), 9, dtype=torch.uint8)
    threat = ThreatModel.parse(f"{norm}:0.1")
    assert torch.equal(ball_of(threat).to_pixels(torch.full((2, 1, 2, 2), math.nan), x), x)


@given(LINF, PIXELS, POINTS)
def test_on_pixels_rounding_stays_inside(epsilon: float, pixels: np.ndarray, points: np.ndarray) -> None:
    threat = ThreatModel("linf", epsilon)
    x = torch.from_numpy(pixels)
    x_adv = ball_of(threat.on_pixels()).project(torch.from_numpy(points), x.float() / 255)
    assert torch.equal(ball_of(threat).to_pixels(x_adv, x), (x_adv * 255).round().byte())


@given(THREATS, PIXELS, POINTS)
def test_project(threat: ThreatModel, pixels: np.ndarray, points: np.ndarray) -> None:
    x = torch.from_numpy(pixels).double() / 255
    anywhere = torch.from_numpy(points).double() * 3 - 1
    projected = ball_of(threat).project(anywhere, x)
    assert (projected >= 0).all()
    assert (projected <= 1).all()
    order = {"linf": math.inf, "l2": 2, "l1": 1}[threat.norm]
    assert (torch.linalg.vector_norm((projected - x).flatten(1), order, dim=1) <= threat.epsilon + 1e-12).all()
    torch.testing.assert_close(ball_of(threat).project(projected, x), projected, rtol=0, atol=1e-12)


def test_l2_projection_goes_straight_to_the_sphere() -> None:
    x = torch.full((1, 1, 1, 2), 0.5)
    x_adv = x + torch.tensor([0.3, 0.4])
    torch.testing.assert_close(ball_of(ThreatModel("l2", 0.25)).project(x_adv, x), x + torch.tensor([0.15, 0.2]))
    assert torch.equal(ball_of(ThreatModel("l2", 0.6)).project(x_adv, x), x_adv)


@pytest.mark.parametrize("text", ["linf:0.2", "l2:0.4"])
def test_random_start_is_uniform(text: str) -> None:
    threat = ThreatModel.parse(text)
    x = torch.full((20000, 1, 1, 3), 0.5)
    delta = (ball_of(threat).random_start(x, torch.Generator().manual_seed(0)) - x).flatten(1).double()
    assert delta.mean(0).abs().max() < 0.005
    # linf: each pixel is uniform; l2: the volume inside the radius is
    share = (delta + 0.2) / 0.4 if threat.norm == "linf" else (delta.norm(dim=1, keepdim=True) / 0.4) ** 3
    expected = (torch.arange(20000).double() + 0.5) / 20000
    for column in share.unbind(1):
        assert (column.sort().values - expected).abs().max() < 0.015  # Kolmogorov-Smirnov, 1.63 / sqrt(n) at 1 %


def test_random_start_in_l1_is_noise_projected() -> None:
    threat = ThreatModel("l1", 3.0)
    x = torch.full((50, 1, 10, 10), 0.5)
    delta = (ball_of(threat).random_start(x, torch.Generator().manual_seed(0)) - x).flatten(1)
    torch.testing.assert_close(delta.abs().sum(1), torch.full((50,), 3.0))
    assert ((delta != 0).sum(1) < 50).all()  # sparse
    assert abs(delta.sign().mean()) < 0.05


@pytest.mark.parametrize("text", ["linf:0.2", "l2:0.4", "l1:1"])
def test_random_start_follows_its_generator(text: str) -> None:
    threat = ThreatModel.parse(text)
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(5))
    a, b, c = (ball_of(threat).random_start(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(ball_of(threat).project(a, x), a) or threat.norm != "linf"


@pytest.mark.parametrize("text", ["linf:0.2", "l2:0.4", "l1:1"])
def test_random_start_of_no_images(text: str) -> None:
    assert ball_of(ThreatModel.parse(text)).random_start(torch.zeros(0, 3, 4, 4)).shape == (0, 3, 4, 4)


@pytest.mark.parametrize("step_size", [1e-3, 5.0, 1e9])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_no_gradient_no_step(norm: Any, step_size: float) -> None:
    x = torch.tensor([[0.0, 0.5, 1.0]])
    threat = ThreatModel(norm, 0.5)
    assert torch.equal(ball_of(threat).step(x, torch.zeros_like(x), step_size), x)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_step(scale: float) -> None:
    x = torch.full((2, 1, 1, 2), 0.5)
    grad = torch.tensor([[3.0, -4.0], [0.0, 0.0]]).view(2, 1, 1, 2) * scale
    steps = torch.tensor([0.1, 0.2])
    for size in (0.1, steps):
        linf = ball_of(ThreatModel("linf", 1)).step(x, grad, size) - x
        torch.testing.assert_close(linf.flatten(1), torch.tensor([[0.1, -0.1], [0.0, 0.0]]))
        l2 = ball_of(ThreatModel("l2", 1)).step(x, grad, size) - x
        torch.testing.assert_close(l2.flatten(1), torch.tensor([[0.06, -0.08], [0.0, 0.0]]))
        l1 = ball_of(ThreatModel("l1", 1)).step(x, grad, size) - x
        torch.testing.assert_close(l1.flatten(1), torch.tensor([[0.0, -0.1], [0.0, 0.0]]))
    two = ball_of(ThreatModel("l1", 1)).step(x, grad, steps, sparsity=torch.tensor([2, 2])) - x
    torch.testing.assert_close(two.flatten(1), torch.tensor([[0.05, -0.05], [0.0, 0.0]]))
