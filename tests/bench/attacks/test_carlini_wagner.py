from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardtemper.bench.attacks.carlini_wagner import carlini_wagner
from hardtemper.bench.attacks.losses import margin
from hardtemper.bench.attacks.norms import length
from hardtemper.bench.attacks.result import attack_pixels
from hardtemper.bench.attacks.threat import ThreatModel
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
    assert (length((found - task.x).flatten(1), "l2") <= BALL.epsilon).all()
    assert found.min() >= 0
    assert found.max() <= 1
    moved = (found != task.x).flatten(1).any(1)
    assert 0.1 < moved.float().mean() < 1
    assert (task.model(found).argmax(1) != task.y).equal(moved)


def test_pixels(task: Task) -> None:
    settings = {"steps": 20, "searches": 1, "initial_c": 1.0}
    result = attack_pixels("c&w", carlini_wagner, task.model, task.pixels, task.labels, threat=BALL, seed=0, **settings)
    assert BALL.contains(torch.from_numpy(result.adversarial), torch.from_numpy(task.pixels)).all()
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
