from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardtemper.bench.attacks.threat.geometry import ball_of
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.multi_targeted import multi_targeted
from hardtemper.bench.attacks.white_box.pgd import pgd
from hardtemper.runtime.errors import RecipeError

Task = Any  # the fixture's class, in conftest.py
LINF = ThreatModel("linf", 20 / 255)
USUAL: dict[str, Any] = {"steps": 10, "step_size": LINF.epsilon / 4}


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_is_exact_on_a_linear_model(linear: nn.Module) -> None:
    # Within reach is who has a class k with (z_k - z_y)(x) + epsilon ||w_k - w_y||_1 > 0.
    pixels = torch.randint(60, 196, (200, 3, 4, 4), generator=seeded())
    x, w, threat = pixels / 255, linear[1].weight.detach(), ThreatModel("linf", 10 / 255)
    logits = linear(x).detach()
    y = logits.argmax(1)
    best = (logits - logits.gather(1, y[:, None])) + threat.epsilon * (w[None] - w[y][:, None]).abs().sum(2)
    best.scatter_(1, y[:, None], -torch.inf)
    found = multi_targeted(linear, x, y, threat=threat, steps=8, step_size=threat.epsilon / 2, generator=seeded())
    broken = linear(found).argmax(1) != y
    clear = best.max(1).values.abs() > 1e-3
    assert 20 < broken.sum() < 180
    assert torch.equal(broken[clear], (best.max(1).values > 0)[clear])


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_a_step_goes_towards_its_target(linear: nn.Module, rank: int) -> None:
    # The last search is that towards the class of rank `rank`, the best rival being 1: its one step is w_t - w_y.
    x, w = torch.rand(30, 3, 4, 4, generator=seeded()), linear[1].weight.detach()
    ranked = linear(x).detach().sort(descending=True)
    clear = ranked.values[:, 0] - ranked.values[:, 1] > 0.1  # too far to be broken
    assert clear.sum() > 10
    x, classes, threat = x[clear], ranked.indices[clear], ThreatModel("linf", 1 / 255)
    y, generator = classes[:, 0], seeded()
    starts = [ball_of(threat).random_start(x, generator) for _ in range(rank)]
    step = 0.25 / 255 * (w[classes[:, rank]] - w[y]).sign().view_as(x)
    found = multi_targeted(linear, x, y, threat=threat, steps=1, step_size=0.25 / 255, targets=rank, generator=seeded())
    torch.testing.assert_close(found, ball_of(threat).project(starts[-1] + step, x), rtol=0, atol=1e-6)


def test_finds_what_the_margin_finds_and_more(task: Task) -> None:
    found = multi_targeted(task.model, task.x, task.y, threat=LINF, generator=seeded(), **USUAL)
    plain = pgd(task.model, task.x, task.y, threat=LINF, random_start=True, loss="margin", generator=seeded(), **USUAL)
    assert 0.02 < task.robust(found, LINF) <= task.robust(plain, LINF)


def test_more_targets_and_restarts_break_no_less(task: Task) -> None:
    def robust(**settings: int) -> float:
        settings = {"targets": 1, **settings}
        found = multi_targeted(
            task.model, task.x, task.y, threat=LINF, steps=3, step_size=0.03, generator=seeded(), **settings
        )
        return task.robust(found, LINF)

    assert robust(targets=5) < robust()
    assert robust(targets=99) == robust(targets=5)  # there are five
    assert robust(restarts=4) < robust()


def test_wrong_images_cost_one_pass(task: Task) -> None:
    seen = []

    def model(x: Tensor) -> Tensor:
        seen.append(len(x))
        logits: Tensor = task.model(x)
        return logits

    y = (task.y + 1) % 6
    assert torch.equal(multi_targeted(model, task.x, y, threat=LINF, **USUAL), task.x)
    assert sum(seen) == len(y)


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"restarts": 0}, {"targets": 0}, {"threat": "->3"}]
    + [{"step_size": value} for value in (-1, math.nan, math.inf)],
    ids=str,
)
def test_refused(task: Task, settings: dict[str, Any]) -> None:
    threat = ThreatModel.parse(f"{LINF}{settings.pop('threat', '')}")
    with pytest.raises(RecipeError, match=r"expected: .*got: "):
        multi_targeted(task.model, task.x, task.y, threat=threat, **USUAL | settings)
