"""What follows an alarm: that it counts, that it costs nothing without one, and what it says where it fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from hardtemper.bench.attacks.presets import choose_attacks
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.robustness.case import Case
from hardtemper.bench.robustness.doubt import NO_ATTACK, withheld
from hardtemper.bench.robustness.evaluate import evaluate_robustness
from hardtemper.bench.robustness.follow_up import FOLLOWED, follow_up
from hardtemper.bench.robustness.incidental import RunningVerdict
from hardtemper.export.twin.surrogates import gentle

THREAT = ThreatModel("linf", 0.1)


def saturated(x: Tensor) -> Tensor:
    """Class 1 once the mean rises by a twentieth; certain of either."""
    score = (x.flatten(1) - 0.55).sum(1)
    found: Tensor = gentle(torch.softmax)(1e6 * torch.stack([torch.zeros_like(score), score], 1), 1)
    return found


def locked(x: Tensor) -> Tensor:
    """Class 1 at no image that a smooth network points to."""
    score = (x.flatten(1) - 9).sum(1)
    return torch.stack([torch.zeros_like(score), score * 0 - 1], 1)


def judged(model: object) -> tuple[Case, RunningVerdict]:
    assert callable(model)

    def engine(pixels: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        with torch.no_grad():
            logits: np.ndarray = model(torch.from_numpy(pixels).float() / 255).numpy()  # type: ignore[type-arg]
        return logits

    images = np.full((12, 1, 4, 4), 128, np.uint8)
    case = Case(engine=engine, twin=model, images=images, labels=np.zeros(12, np.int64), threat=THREAT)
    running = RunningVerdict(evaluate_robustness(case, choose_attacks("paper", THREAT, classes=2).plans), case)
    return replace(case, keep=running.keep), running


@pytest.mark.parametrize("alarm", sorted(FOLLOWED))
def test_an_alarm_is_followed_and_what_is_found_counts(alarm: str) -> None:
    case, running = judged(saturated)
    assert running.result.robust.all()
    assert follow_up(case, running, [alarm]) == ()
    assert not running.result.robust.any()
    assert running.result.attacks[-1].plan.name == "follow-up surrogate"


@pytest.mark.parametrize("raised", [[], ["random"], ["more steps"]])
def test_without_a_sign_of_hidden_gradients_nothing_follows(raised: list[str]) -> None:
    case, running = judged(saturated)
    assert follow_up(replace(case, engine=lambda _: pytest.fail("asked")), running, raised) == ()
    assert running.result.robust.all()


def test_where_nothing_works_in_any_ball_the_figure_is_withheld() -> None:
    case, running = judged(locked)
    (alarm,) = follow_up(case, running, ["flat loss"])
    assert alarm.name == NO_ATTACK
    assert (alarm.count, alarm.n, alarm.raised) == (12, 12, True)
    assert withheld([NO_ATTACK], 12)
    assert not withheld([NO_ATTACK], 0)


def test_without_a_twin_there_is_nothing_to_follow() -> None:
    case, running = judged(saturated)
    assert follow_up(replace(case, twin=None), running, ["zero gradient"]) == ()
