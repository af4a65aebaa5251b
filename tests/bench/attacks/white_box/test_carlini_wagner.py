from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from hardtemper.bench.attacks.losses import margin
from hardtemper.bench.attacks.threat.norms import length
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.carlini_wagner import carlini_wagner
from hardtemper.bench.attacks.white_box.on_pixels import attack_pixels
from hardtemper.runtime.errors import RecipeError

Task = Any  # the fixture's class, in conftest.py
EVERYTHING, BALL = ThreatModel("l2", 100.0), ThreatModel("l2", 0.75)
QUICK: Any = {"steps": 40, "searches": 4, "initial_c": 0.1, "learning_rate": 0.02}


@pytest.mark.parametrize("target", [None, 1])
def test_minimum_of_a_linear_model(target: int | None) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    x = torch.randint(110, 140, (8, 3, 2, 2)) / 255  # far from the box
    model[1].bias.data[0] += (model(x)[:, 1] - model(x)[:, 0]).max().detach() + 0.1  # all of class 0, and near
    z = model(x).detach()
    y = torch.zeros(8, dtype=torch.int64)
    assert (z.argmax(1) == y).all()
    distance = (z[:, 0] - z[:, 1]) / (model[1].weight[0] - model[1].weight[1]).norm().detach()
    threat = ThreatModel("l2", 100.0, target)
    found = carlini_wagner(model, x, y, threat=threat, steps=100, searches=7, initial_c=0.1, minimize=True)
    assert (model(found).argmax(1) == 1).all()
    torch.testing.assert_close(length((found - x).flatten(1), "l2"), distance, rtol=0.02, atol=0)


@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_steps_are_those_of_adam(linear: nn.Module, rate: float) -> None:
    # The first 6 of 60, after which images may leave; some have crossed the boundary by then, where l(x') = 0.
    x = torch.randint(60, 196, (20, 3, 4, 4), generator=torch.Generator().manual_seed(0)) / 255
    y, seen = linear(x).argmax(1), []

    def noted(images: Tensor) -> Tensor:
        if images.requires_grad:
            seen.append(images.detach())
        logits: Tensor = linear(images)
        return logits

    carlini_wagner(
        noted, x, y, threat=EVERYTHING, steps=60, searches=1, learning_rate=rate, initial_c=50.0, minimize=True
    )
    w = torch.atanh((2 * x - 1) * 0.999999).requires_grad_()
    adam = torch.optim.Adam([w], lr=rate)
    for points in seen[:6]:
        image = (w.tanh() + 1) / 2
        torch.testing.assert_close(points, image.detach(), rtol=0, atol=1e-5)
        z = linear(image)
        rival = z.masked_fill(torch.eye(5, dtype=torch.bool)[y], -math.inf).amax(1)
        lost = (z[torch.arange(20), y] - rival).clamp(min=0)
        objective = (image - x).square().flatten(1).sum(1) + 50 * lost
        (w.grad,) = torch.autograd.grad(objective.sum(), w)
        adam.step()


def test_towards_a_target(linear: nn.Module) -> None:
    # The shortest move with (w_t - w_k) . delta >= z_k - z_t for all k: Lawson & Hanson's least distance programming.
    x = torch.randint(60, 196, (30, 3, 4, 4), generator=torch.Generator().manual_seed(0)) / 255
    linear[1].bias.data = -linear[1].weight.data.sum(1) / 2  # grey is on every boundary
    z, w = linear(x).detach().double().numpy(), linear[1].weight.detach().double().numpy()
    found = carlini_wagner(
        linear, x, linear(x).argmax(1), threat=ThreatModel("l2", 100.0, target=3), steps=100, searches=6, minimize=True
    )
    others, attacked = [0, 1, 2, 4], z.argmax(1) != 3
    assert 10 < attacked.sum() < 30
    assert (linear(found).argmax(1) == 3).all()
    least = np.zeros(30)
    for i in np.flatnonzero(attacked):
        sides = np.vstack([(w[3] - w[others]).T, z[i, others] - z[i, 3]])
        u, _ = nnls(sides, np.eye(49)[48])
        left = sides @ u - np.eye(49)[48]
        least[i] = np.linalg.norm(left[:48] / left[48])
    moved = length((found - x).flatten(1), "l2").numpy()
    assert (moved >= least - 1e-5).all()
    assert np.median(moved[attacked] / least[attacked]) < 1.1


def test_perturbations_are_no_longer_than_those_of_art(task: Task, art: Callable[[Task], Any]) -> None:
    x, y = task.x[:16], task.y[:16]
    ours = carlini_wagner(task.model, x, y, threat=EVERYTHING, minimize=True, **QUICK)
    assert (task.model(ours).argmax(1) != y).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.attacks.evasion import CarliniL2Method

        attack = CarliniL2Method(
            art(task),
            max_iter=40,
            binary_search_steps=4,
            initial_const=0.1,
            learning_rate=0.02,
            batch_size=16,
            max_halving=2,
            max_doubling=2,
            verbose=False,
        )
        theirs = torch.from_numpy(attack.generate(x.numpy()))
    assert length((ours - x).flatten(1), "l2").median() <= length((theirs - x).flatten(1), "l2").median() * 1.001


def test_confidence_is_a_margin(task: Task) -> None:
    x, y = task.x[:16], task.y[:16]
    found = carlini_wagner(task.model, x, y, threat=EVERYTHING, minimize=True, confidence=0.5, **QUICK)
    moved = (found != x).flatten(1).any(1)
    assert moved.float().mean() > 0.9
    assert (margin(task.model(found), y)[moved] >= 0.5 - 1e-5).all()


@pytest.mark.parametrize("minimize", [False, True])
def test_stays_in_the_ball_and_fools(task: Task, minimize: bool) -> None:
    found = carlini_wagner(
        task.model, task.x, task.y, threat=BALL, minimize=minimize, steps=30, searches=2, initial_c=1.0
    )
    moved = task.fooled(found, BALL)
    assert 0.1 < moved.float().mean() < 1


def test_pixels(task: Task) -> None:
    settings = {"steps": 20, "searches": 1, "initial_c": 1.0}
    result = attack_pixels("c&w", carlini_wagner, task.model, task.pixels, task.labels, threat=BALL, seed=0, **settings)
    assert BALL.contains(result.adversarial, task.pixels).all()
    assert (task.scores(result.adversarial).argmax(1) != task.labels).mean() > 0.1


def test_images_that_stall_cost_nothing_more(task: Task) -> None:
    seen = 0

    def counted(x: Tensor) -> Tensor:
        nonlocal seen
        seen += len(x)
        return task.model(x.detach()) + 0 * x.sum()  # nothing to gain but to go back to the image

    carlini_wagner(counted, task.x[:4], task.y[:4], threat=EVERYTHING, steps=100, searches=1, initial_c=1.0)
    assert 4 + 4 * 20 <= seen < 4 + 4 * 60


def test_wrong_images_and_no_images(task: Task) -> None:
    y = (task.y + 1) % 6
    assert torch.equal(carlini_wagner(task.model, task.x, y, threat=BALL), task.x)
    assert carlini_wagner(task.model, task.x[:0], task.y[:0], threat=BALL).shape == task.x[:0].shape


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"searches": 0}, {"learning_rate": 0}, {"initial_c": 0}, {"confidence": -1}]
    + [{name: math.inf} for name in ("learning_rate", "initial_c", "confidence")],
    ids=str,
)
def test_refused_settings(task: Task, settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"expected: .*got: "):
        carlini_wagner(task.model, task.x, task.y, threat=BALL, **settings)


@pytest.mark.parametrize("text", ["linf:0.1", "l1:4.0"])
def test_refuses_other_norms(task: Task, text: str) -> None:
    with pytest.raises(RecipeError, match=f"expected: a threat model such as l2:1.5; got: {text}; fix: use fab"):
        carlini_wagner(task.model, task.x, task.y, threat=ThreatModel.parse(text))
