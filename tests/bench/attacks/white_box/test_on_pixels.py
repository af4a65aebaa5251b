from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hardtemper.bench.attacks.threat.geometry import ball_of
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.apgd import apgd
from hardtemper.bench.attacks.white_box.fgsm import fgsm
from hardtemper.bench.attacks.white_box.on_pixels import attack_pixels
from hardtemper.bench.attacks.white_box.pgd import pgd

Task = Any  # the fixture's class, in conftest.py
PGD = {"steps": 5, "step_size": 0.02, "random_start": True}


@pytest.mark.parametrize("text", ["linf:0.1", "l2:0.75", "l1:5.0"])
@pytest.mark.parametrize(("attack", "settings"), [(fgsm, {}), (pgd, PGD), (apgd, {"loss": "dlr", "steps": 5})])
def test_same_seed_same_images_inside_the_ball(task: Task, text: str, attack: Any, settings: dict[str, Any]) -> None:
    threat = ThreatModel.parse(text)
    before = task.pixels.copy()
    result, again = (
        attack_pixels("name", attack, task.model, task.pixels, task.labels, threat=threat, seed=3, **settings)
        for _ in range(2)
    )
    assert result.name == "name"
    assert result.settings == {"threat": text, "seed": 3, **settings}
    assert result.adversarial.dtype == np.uint8
    assert result.adversarial.shape == task.pixels.shape
    assert threat.contains(result.adversarial, task.pixels).all()
    assert np.array_equal(result.adversarial, again.adversarial)
    assert np.array_equal(task.pixels, before)
    assert result.seconds > 0
    assert (task.scores(result.adversarial).argmax(1) == task.labels).mean() < 0.95


def test_evaluations_are_images_through_the_model(task: Task) -> None:
    plain = attack_pixels(
        "pgd",
        pgd,
        task.model,
        task.pixels,
        task.labels,
        threat=ThreatModel("linf", 0.1),
        seed=0,
        **PGD,
        early_stop=False,
    )
    early = attack_pixels(
        "pgd", pgd, task.model, task.pixels, task.labels, threat=ThreatModel("linf", 0.1), seed=0, **PGD
    )
    assert plain.evaluations == 5 * len(task.labels)
    assert len(task.labels) < early.evaluations < plain.evaluations + len(task.labels)


@pytest.mark.parametrize(
    ("text", "moves"),
    [("l2:0.0137", [1.5, 1.5, 1.5, 1.5, 3**0.5, 0]), ("l1:0.0175", [1.5, 1.5, 1, 0, 0, 0])],  # 12 of 12.2, 4 of 4.5
)
def test_what_the_search_was_asked_about_is_what_comes_back(text: str, moves: list[float]) -> None:
    """The searched ball holds the same 8-bit images, but from its sphere the given one is rounded into elsewhere."""
    threat = ThreatModel.parse(text)
    pixels = np.random.default_rng(0).integers(20, 236, (500, 1, 2, 3)).astype(np.uint8)
    asked = []

    def attack(model: Any, x: Any, y: Any, *, threat: ThreatModel, generator: Any) -> Any:
        x_adv = ball_of(threat).project(x + torch.tensor(moves).view(2, 3) / 255, x)
        asked.append(ball_of(threat).to_pixels(x_adv, (x * 255).round().byte()))  # as `stopping.broken`
        return x_adv

    result = attack_pixels("any", attack, torch.nn.Flatten(), pixels, np.zeros(500, np.int64), threat=threat, seed=0)
    assert np.array_equal(result.adversarial, asked[0].numpy())
    assert result.settings["threat"] == text
