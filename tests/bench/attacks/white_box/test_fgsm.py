from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hardtemper.bench.attacks.threat.geometry import ball_of
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.fgsm import fgsm

Task = Any  # the fixture's class, in conftest.py
LINF = ThreatModel("linf", 20 / 255)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("threat", [ThreatModel("linf", 0.1), ThreatModel("l2", 0.3)], ids=str)
def test_is_the_optimum_of_a_linear_model(threat: ThreatModel, sign: int) -> None:
    # Two classes: margin(x + delta) = margin(x) + delta . w, so delta* = epsilon sign(w), or epsilon w / ||w||_2.
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    w = (model[1].weight[1] - model[1].weight[0]).detach() * sign
    y = torch.full((5,), 0 if sign == 1 else 1)
    x = torch.rand(5, 3, 2, 2) * 0.2 + 0.4  # no pixel reaches 0 or 1
    delta = threat.epsilon * (w.sign() if threat.norm == "linf" else w / w.norm())
    torch.testing.assert_close(fgsm(model, x, y, threat=threat), x + delta.view(3, 2, 2))


def test_l1_optimum_of_a_linear_model() -> None:
    # The mass goes to the largest |w|, as far as the box lets it: 0.9 + 0.3 + the rest of 1.5.
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    model[1].weight.data = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, -3.0, 0.5, 2.0]])
    x = torch.tensor([0.2, 0.9, 0.5, 0.7]).view(1, 1, 2, 2)
    found = fgsm(model, x, torch.zeros(1, dtype=torch.int64), threat=ThreatModel("l1", 1.5))
    torch.testing.assert_close(found.flatten(), torch.tensor([0.5, 0.0, 0.5, 1.0]))


def test_from_a_random_point(task: Task) -> None:
    x, y = task.x, task.y
    start = ball_of(LINF).random_start(x, torch.Generator().manual_seed(4))
    leaf = start.clone().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(task.model(leaf), y, reduction="sum"), leaf)
    expected = (start + 1.25 * LINF.epsilon * grad.sign()).clamp(x - LINF.epsilon, x + LINF.epsilon).clamp(0, 1)
    found = fgsm(task.model, x, y, threat=LINF, random_start=True, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("random_start", [False, True])
def test_the_step_is_as_long_as_asked_for(linear: nn.Module, random_start: bool) -> None:
    x, threat, y = torch.full((4, 3, 4, 4), 0.5), ThreatModel("linf", 0.1), torch.arange(4)
    start = ball_of(threat).random_start(x, torch.Generator().manual_seed(4)) if random_start else x
    leaf = start.clone().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(linear(leaf), y, reduction="sum"), leaf)
    found = fgsm(
        linear,
        x,
        y,
        threat=threat,
        random_start=random_start,
        step_size=0.03,
        generator=torch.Generator().manual_seed(4),
    )
    torch.testing.assert_close(found, (start + 0.03 * grad.sign()).clamp(0.4, 0.6))


@pytest.mark.parametrize("threat", [LINF, ThreatModel("l2", 0.75)], ids=str)
def test_is_that_of_art(task: Task, threat: ThreatModel, art: Callable[[Task], Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.attacks.evasion import FastGradientMethod

        attack = FastGradientMethod(
            art(task), norm="inf" if threat.norm == "linf" else 2, eps=threat.epsilon, batch_size=128
        )
        theirs = torch.from_numpy(attack.generate(task.x.numpy(), task.labels))
    torch.testing.assert_close(fgsm(task.model, task.x, task.y, threat=threat), theirs, rtol=0, atol=1e-5)
