from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.bim import bim
from hardtemper.runtime.errors import RecipeError

Task = Any  # the fixture's class, in conftest.py


@pytest.mark.parametrize(("levels", "steps"), [(1, 1), (4, 5), (8, 10), (16, 20), (25, 29), (0, 1)])
def test_steps_are_the_papers(levels: int, steps: int) -> None:
    seen = []

    def never(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return torch.stack((x.sum((1, 2, 3)) * 0 + 1, x.sum((1, 2, 3)) * 1e-6), 1)

    x = torch.full((1, 1, 2, 2), 100 / 255)
    found = bim(never, x, torch.zeros(1, dtype=torch.int64), threat=ThreatModel("linf", levels / 255))
    assert len(seen) == steps
    torch.testing.assert_close(found - x, torch.full_like(x, levels / 255))
    torch.testing.assert_close(seen[-1] - x, torch.full_like(x, min(steps - 1, levels) / 255))


def test_other_norms_are_refused(task: Task) -> None:
    for text in ("l2:1", "l1:5"):
        with pytest.raises(RecipeError, match="fix: use pgd"):
            bim(task.model, task.x, task.y, threat=ThreatModel.parse(text))


def test_optimum_of_a_linear_model() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    model[1].bias.data = torch.tensor([5.0, 0.0])  # too far to be fooled
    w = (model[1].weight[1] - model[1].weight[0]).detach().view(3, 2, 2)
    x = torch.randint(110, 140, (5, 3, 2, 2)) / 255
    found = bim(model, x, torch.zeros(5, dtype=torch.int64), threat=ThreatModel("linf", 8 / 255))
    torch.testing.assert_close(found, x + 8 / 255 * w.sign())


def test_robust_accuracy_is_that_of_art(task: Task, art: Callable[[Task], Any]) -> None:
    threat = ThreatModel("linf", 20 / 255)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.attacks.evasion import BasicIterativeMethod

        attack = BasicIterativeMethod(
            art(task), eps=threat.epsilon, eps_step=1 / 255, max_iter=24, batch_size=128, verbose=False
        )
        theirs = torch.from_numpy(attack.generate(task.x.numpy(), task.labels))
    ours = task.robust(bim(task.model, task.x, task.y, threat=threat), threat)
    # Any iterate that breaks an image counts here, the last one there.
    assert -0.02 <= ours - task.robust(theirs, threat) <= 0
