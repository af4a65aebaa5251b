"""What alarms say of sound networks that were attacked weakly; broken defenses are in test_broken_defenses.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from hardtemper.bench.alarms import Alarm, Checks, look_for_alarms
from hardtemper.bench.attacks.result import AttackResult
from hardtemper.bench.attacks.threat import ThreatModel
from hardtemper.bench.plans import AttackPlan
from hardtemper.bench.presets import choose_attacks
from hardtemper.bench.robust import evaluate_robustness
from hardtemper.bench.verdict import RobustnessResult
from hardtemper.export.twin import Twin

THREAT = ThreatModel("linf", 8 / 255)


def idle(model: Any, images: Any, labels: Any, *, threat: Any, seed: int) -> AttackResult:
    """An attack on the twin that finds nothing."""
    return AttackResult(name="idle", settings={}, adversarial=images, seconds=0.0, evaluations=0)


IDLE = AttackPlan(name="idle", target="twin", search=idle, settings={})


def checked(model: Any, attacks: list[AttackPlan], *, count: int = 60) -> tuple[RobustnessResult, Checks]:
    """A linear network, whose gradients say all there is to know."""
    twin = Twin(onnx.load_from_string(model.onnx()))
    images = np.random.default_rng(1).integers(100, 156, (count, 1, 6, 6)).astype(np.uint8)
    labels = model(images).argmax(1).astype(np.int64)
    result = evaluate_robustness(model, twin, images, labels, threat=THREAT, attacks=attacks, seed=0)
    return result, look_for_alarms(result, model, twin, images, labels)


@pytest.mark.parametrize("idle", [True, False])
def test_what_stronger_gradients_find_is_no_sign_against_gradients(three_classes: Any, idle: bool) -> None:
    """Of six classes, APGD on the cross-entropy is stuck between two where Square finds the third."""
    quick = choose_attacks("quick", THREAT).plans
    six = replace(three_classes, weights=np.random.default_rng(6).integers(-15, 16, (6, 36)))
    result, checks = checked(six, [IDLE, quick[-1]] if idle else [*quick], count=150)
    assert result.queries_only is not None
    assert result.queries_only > 5, "queries break what the attack on the twin missed"
    alarms = {alarm.name: alarm for alarm in checks.alarms}
    assert (alarms["without gradients"].count, alarms["without gradients"].n) == (0, result.clean)
    assert checks.raised == (), "the attack was weak, the gradients are not"


def test_few_survivors_say_nothing_about_more_steps(three_classes: Any) -> None:
    result, checks = checked(three_classes, [IDLE], count=9)
    assert result.robust.sum() == 9
    assert "more steps" not in [alarm.name for alarm in checks.alarms]
    (skip,) = checks.skipped
    assert (skip.what, skip.reason) == (
        "alarm more steps",
        "9 images withstood everything, and fewer than 10 say nothing",
    )
    _, checks = checked(three_classes, [IDLE], count=10)
    assert checks.skipped == ()
    assert "more steps" in checks.raised


@pytest.mark.parametrize(
    ("count", "n", "threshold", "raised"),
    [(1, 1, 0.05, False), (1, 2, 0.05, False), (2, 10, 0.05, True), (1, 10, 0.0, True), (0, 10, 0.0, False)],
)
def test_one_image_is_chance_unless_there_is_none(count: int, n: int, threshold: float, raised: bool) -> None:
    assert Alarm(name="more steps", count=count, n=n, threshold=threshold).raised == raised
