from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.wrm import wrm
from hardtemper.runtime.errors import RecipeError

Task = Any  # the fixture's class, in conftest.py


def test_optimum_of_a_linear_model() -> None:
    # sup margin(x') - gamma / 2 ||x' - x||^2 is at x' = x + w / gamma.
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    model[1].bias.data = torch.tensor([5.0, 0.0])
    w = (model[1].weight[1] - model[1].weight[0]).detach().view(3, 2, 2)
    x = torch.rand(5, 3, 2, 2) * 0.2 + 0.4
    y = torch.zeros(5, dtype=torch.int64)
    found = wrm(model, x, y, threat=ThreatModel("l2", 10.0), gamma=4.0, loss="margin")
    torch.testing.assert_close(found, x + w / 4, rtol=0, atol=1e-3)
    # What leaves the ball is projected: the direction stays, and the length is epsilon.
    found = wrm(model, x, y, threat=ThreatModel("l2", 0.1), gamma=4.0, loss="margin")
    torch.testing.assert_close(found, x + 0.1 * w / w.norm(), rtol=0, atol=1e-4)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": lambda z, y: z.logsumexp(1) - z[range(len(y)), y],
    "margin": lambda z, y: z.masked_fill(torch.eye(5, dtype=torch.bool)[y], -math.inf).amax(1) - z[range(len(y)), y],
}


@pytest.mark.parametrize("loss", LOSSES)
def test_two_steps_are_the_equation(loss: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 5))
    x, gamma = torch.rand(30, 3, 2, 2), 0.5
    y = model(x).argmax(1)
    y[::3] = (y[::3] + 1) % 5  # wrong as they are
    points = x
    for t in range(2):
        leaf = points.clone().requires_grad_()
        (grad,) = torch.autograd.grad(LOSSES[loss](model(leaf), y).sum(), leaf)
        step = 1 / (gamma * math.sqrt(t + 2))
        points = (points + step * (grad - gamma * (points - x))).clamp(0, 1)
    assert ((points == 0) | (points == 1)).sum() > 10  # at the faces of the box
    points[::3] = x[::3]
    found = wrm(model, x, y, threat=ThreatModel("l2", 10.0), gamma=gamma, steps=2, loss=loss)
    torch.testing.assert_close(found, points, rtol=0, atol=1e-6)


def test_the_dearer_the_nearer(task: Task) -> None:
    threat = ThreatModel("l2", 5.0)
    lengths = [
        (wrm(task.model, task.x, task.y, threat=threat, gamma=gamma) - task.x).flatten(1).norm(dim=1).mean()
        for gamma in (0.1, 1.0, 10.0)
    ]
    assert lengths[0] > lengths[1] > lengths[2] > 0


def test_breaks_images(task: Task) -> None:
    threat = ThreatModel("l2", 0.75)
    assert task.robust(wrm(task.model, task.x, task.y, threat=threat, gamma=0.5), threat) < 0.7


@pytest.mark.parametrize(
    "settings", [{"gamma": 0.0}, {"gamma": -1.0}, {"gamma": math.inf}, {"gamma": 1.0, "steps": 0}], ids=str
)
def test_refused_settings(task: Task, settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"expected: .*got: "):
        wrm(task.model, task.x, task.y, threat=ThreatModel("l2", 1.0), **settings)
