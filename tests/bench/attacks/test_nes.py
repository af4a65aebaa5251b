from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from hardtemper.bench.attacks.nes import nes
from hardtemper.bench.attacks.threat import ThreatModel
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


@pytest.mark.parametrize(
    "settings",
    [{"samples": 3}, {"samples": 0}, {"sigma": 0.001}, {"momentum": 1.0}, {"step_size": -1.0}]
    + [{name: value} for name in ("sigma", "step_size") for value in (math.nan, math.inf)],
    ids=str,
)
def test_refused_settings(task: Task, settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"expected: .*got: "):
        nes(task.scores, task.pixels, task.labels, threat=ThreatModel("linf", 0.1), **settings)
