from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hardtemper.bench.attacks.threat.geometry import ball_of
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.fgsm import fgsm
from hardtemper.bench.attacks.white_box.r_fgsm import r_fgsm
from hardtemper.runtime.errors import RecipeError

Task = Any  # the fixture's class, in conftest.py
LINF = ThreatModel("linf", 20 / 255)


def test_is_the_equation(task: Task) -> None:
    x, y, alpha = task.x, task.y, 0.25 * LINF.epsilon
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    start = (x + alpha * noise.sign()).clamp(0, 1).requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(task.model(start), y, reduction="sum"), start)
    expected = (start + (LINF.epsilon - alpha) * grad.sign()).clamp(0, 1)
    found = r_fgsm(task.model, x, y, threat=LINF, random_share=0.25, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("settings", [{}, {"random_share": 0.25}, {"random_share": 1.0}], ids=str)
@pytest.mark.parametrize("text", ["linf:0.08", "l2:0.75", "l1:5"])
def test_both_steps_are_the_norms_own(linear: nn.Module, text: str, settings: dict[str, float]) -> None:
    x, y, threat = (
        torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(1)),
        torch.arange(6) % 5,
        ThreatModel.parse(text),
    )
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    alpha = settings.get("random_share", 0.5) * threat.epsilon
    start = ball_of(threat).project(ball_of(threat).step(x, noise, alpha), x).requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(linear(start), y, reduction="sum"), start)
    expected = ball_of(threat).project(ball_of(threat).step(start.detach(), grad, threat.epsilon - alpha), x)
    found = r_fgsm(linear, x, y, threat=threat, generator=torch.Generator().manual_seed(4), **settings)
    torch.testing.assert_close(found, expected)
    assert not torch.equal(start, x)


@pytest.mark.parametrize("text", ["linf:0.08", "l2:0.75", "l1:5"])
def test_without_randomness_it_is_fgsm(task: Task, text: str) -> None:
    threat = ThreatModel.parse(text)
    found = r_fgsm(task.model, task.x, task.y, threat=threat, random_share=0)
    torch.testing.assert_close(found, fgsm(task.model, task.x, task.y, threat=threat))


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_refused_settings(task: Task, share: float) -> None:
    with pytest.raises(RecipeError, match=r"expected: 0 to 1; got: "):
        r_fgsm(task.model, task.x, task.y, threat=LINF, random_share=share)
