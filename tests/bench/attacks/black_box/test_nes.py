from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardtemper.bench.attacks.black_box.nes import _Estimate, nes
from hardtemper.bench.attacks.threat.geometry import ball_of
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.runtime.errors import RecipeError

Task = Any  # the fixture's class, in conftest.py


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_breaks_a_linear_model_as_far_as_it_can_be(linear: nn.Module, norm: Any) -> None:
    # margin(x + delta) >= margin(x) - epsilon ||w_y - w_k||_q, reached at one point: who is within reach is known.
    rng = np.random.default_rng(0)
    pixels = rng.integers(90, 166, (80, 3, 4, 4)).astype(np.uint8)

    def scores(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            return linear(torch.from_numpy(images).float() / 255).numpy()

    labels = scores(pixels).argmax(1)
    threat = ThreatModel("linf", 10 / 255) if norm == "linf" else ThreatModel("l2", 0.25)
    w = linear[1].weight.detach().numpy()
    length = np.linalg.norm(w[labels][:, None] - w[None], ord=1 if norm == "linf" else 2, axis=2)
    gap = scores(pixels)[np.arange(80), labels][:, None] - scores(pixels) - threat.epsilon * length
    gap[np.arange(80), labels] = np.inf
    within, beyond = gap.min(1) < -0.02, gap.min(1) > 1e-4
    result = nes(scores, pixels, labels, threat=threat, queries=1000)
    broken = scores(result.adversarial).argmax(1) != labels
    assert 8 < within.sum() < 72
    assert broken[within].mean() > 0.95
    assert not broken[beyond].any()


def test_the_noise_is_whole_levels_around_the_point(task: Task) -> None:
    calls = []

    def scores(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        calls.append(images)
        return task.scores(images)

    image = np.full((1, 1, 12, 12), 100, np.uint8)
    label = task.scores(image).argmax(1)
    nes(scores, image, label, threat=ThreatModel("linf", 1 / 255), queries=1001, samples=1000, sigma=4 / 255)
    asked = np.concatenate(calls[1:-1]).astype(int) - 100
    assert len(asked) == 1000
    assert asked.std() == pytest.approx(4, rel=0.02)
    assert asked.sum() == 0  # every one has its opposite


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_steps_are_the_equation(norm: Any) -> None:
    # The second margin is a thousand times steeper, which must not matter: estimates are brought to one length.
    rng = np.random.default_rng(0)
    pixels, x_adv = rng.integers(0, 256, (2, 1, 3, 3)).astype(np.uint8), torch.rand(2, 1, 3, 3)
    weights = torch.from_numpy(rng.normal(size=(2, 1, 3, 3))).float()
    asked: list[Tensor] = []
    rule = _Estimate(
        queries=6,
        levels=8.0,
        step_size=0.05,
        momentum=0.7,
        ball=ball_of(ThreatModel(norm, 1.0)),
        rng=np.random.default_rng(1),
        mean=torch.zeros(3, 1, 3, 3),
    )
    rows, m = np.array([0, 2]), torch.zeros(2, 1, 3, 3)
    for steepness in (1.0, -1000.0):

        def margin(candidates: NDArray[np.uint8], steepness: float = steepness) -> Tensor:
            asked.append(torch.from_numpy(candidates).float())
            return steepness * (asked[-1] * weights).sum((2, 3, 4))

        found = rule.step(margin, pixels, x_adv, rows)
        up, down = asked[-1].chunk(2)  # the pairs x + u, x - u, cut to [0, 255]
        assert len(up) == 3
        g = (steepness * ((up - down) * weights).sum((2, 3, 4), keepdim=True) * (up - down)).sum(0)
        m = 0.7 * m + 0.3 * g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        direction = m.sign() if norm == "linf" else m / m.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        torch.testing.assert_close(found, x_adv + 0.05 * direction, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [{"samples": 3}, {"samples": 0}, {"sigma": 0.001}, {"momentum": 1.0}, {"step_size": -1.0}]
    + [{name: value} for name in ("sigma", "step_size") for value in (math.nan, math.inf)],
    ids=str,
)
def test_refused_settings(task: Task, settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"expected: .*got: "):
        nes(task.scores, task.pixels, task.labels, threat=ThreatModel("linf", 0.1), **settings)
