"""What alarms say of sound networks that were attacked weakly; broken defenses are in test_broken_defenses.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardtemper.bench.attacks.catalogue import AttackPlan
from hardtemper.bench.attacks.presets import choose_attacks
from hardtemper.bench.attacks.result import AttackResult
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.resume import ResumeStore
from hardtemper.bench.robustness.alarm import Alarm
from hardtemper.bench.robustness.alarm_checks import Checks, look_for_alarms
from hardtemper.bench.robustness.case import Case
from hardtemper.bench.robustness.evaluate import evaluate_robustness
from hardtemper.bench.robustness.verdict import RobustnessResult
from hardtemper.export.twin.twin import Twin

THREAT = ThreatModel("linf", 8 / 255)


def idle(model: Any, images: Any, labels: Any, *, threat: Any, seed: int, **_: Any) -> AttackResult:
    """An attack on the twin that finds nothing."""
    return AttackResult(name="idle", settings={}, adversarial=images, seconds=0.0, evaluations=0)


IDLE = AttackPlan(name="idle", target="twin", search=idle, settings={})


def draw(model: Any, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images near gray, all right."""
    images = np.random.default_rng(1).integers(100, 156, (count, 1, 6, 6)).astype(np.uint8)
    return images, model(images).argmax(1).astype(np.int64)


def checked(
    model: Any,
    attacks: list[AttackPlan],
    *,
    count: int = 60,
    shift: float = 0.0,
    threat: ThreatModel = THREAT,
    store: ResumeStore | None = None,
) -> tuple[RobustnessResult, Checks]:
    """A linear network, whose gradients say all there is to know; its twin's last logit is too high by `shift`."""
    twin = Twin(onnx.load_from_string(model.onnx(shift=shift)))
    images, labels = draw(model, count)
    others = labels != threat.target
    images, labels = images[others], labels[others]
    case = Case(engine=model, twin=twin, images=images, labels=labels, threat=threat, store=store)
    result = evaluate_robustness(case, attacks)
    return result, look_for_alarms(case, result)


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


def test_limits_are_those_of_the_readme(three_classes: Any) -> None:
    text = (Path(__file__).parents[3] / "docs" / "alarms" / "README.md").read_text(encoding="utf-8")
    table = text.partition("| alarm | a sign that | limit |\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| ([a-z][^|]*) \|[^|]*\| (\d+)(?: %)? \|$", table, re.MULTILINE)
    _, checks = checked(three_classes, [IDLE, choose_attacks("quick", THREAT).plans[-1]], count=150)
    limits = {name: int(limit) for name, limit in rows}
    assert {alarm.name: 100 * alarm.threshold for alarm in checks.alarms}.items() <= limits.items()


def darker(model: Any, images: Any, labels: Any, *, threat: Any, seed: int) -> AttackResult:
    return AttackResult(name="darker", settings={}, adversarial=images - 8, seconds=0.0, evaluations=0)


def test_candidates_that_break_one_of_twin_and_engine_raise_an_alarm(two_classes: Any) -> None:
    plans = [IDLE, AttackPlan(name="darker", target="twin", search=darker, settings={})]
    _, checks = checked(two_classes, plans, shift=0.25)
    images, labels = draw(two_classes, 60)
    logits = two_classes(np.concatenate([images, images - 8]))
    engine, twin = (z.argmax(1) != np.tile(labels, 2) for z in (logits, logits + np.float32([0, 0.25])))
    alarm = {alarm.name: alarm for alarm in checks.alarms}["twin differs"]
    assert (alarm.count, alarm.n) == ((engine != twin).sum(), 120)
    assert (engine & ~twin).any()
    assert (twin & ~engine).any()
    assert "twin differs" in checks.raised


@pytest.mark.parametrize(("steps", "twice"), [(None, 50), (20, 50), (40, 80), (150, 200)])
@pytest.mark.parametrize("target", [None, 0])
def test_stronger_attacks_take_twice_the_steps_from_another_start(
    three_classes: Any, tmp_path: Path, steps: int | None, twice: int, target: int | None
) -> None:
    seeds, asked = [], {}

    def first(*given: Any, seed: int, **how: Any) -> AttackResult:
        seeds.append(seed)
        return idle(*given, seed=seed, **how)

    class Watched(ResumeStore):
        """Makes the verdict's own attacks, and notes the alarms' instead of making them."""

        def search(self, plan: AttackPlan, *given: Any, seed: int, **how: Any) -> AttackResult:
            if not plan.name.startswith("alarm"):
                return plan.search(*given, seed=seed, **how, **plan.settings)
            asked[plan.name] = (plan.settings["steps"], seed)
            return idle(*given, seed=seed, **how)

    settings: dict[str, Any] = {} if steps is None else {"steps": steps}
    weak = AttackPlan(name="weak", target="twin", search=first, settings=settings)
    square = choose_attacks("quick", THREAT).plans[-1]
    aimed = replace(THREAT, target=target)
    checked(three_classes, [weak, square], count=150, threat=aimed, store=Watched(tmp_path))
    assert asked["alarm more steps"][0] == asked["alarm without gradients"][0] == twice
    stronger = {name: seed for name, (_, seed) in asked.items() if name != "alarm large epsilon"}
    assert len(stronger) == (3 if target is None else 2), "MultiTargeted chooses its targets itself"
    assert not {0, *seeds} & set(stronger.values())


def test_against_a_target_too_stronger_gradients_are_tried_first(two_classes: Any) -> None:
    square = choose_attacks("quick", THREAT).plans[-1]
    result, checks = checked(two_classes, [IDLE, square], threat=replace(THREAT, target=0))
    assert result.queries_only is not None
    assert result.queries_only > 5
    assert {alarm.name: alarm.count for alarm in checks.alarms}["without gradients"] == 0


GRAY = np.full((60, 1, 6, 6), 128, np.uint8)


def of_gray(rises: Callable[[Tensor], Tensor]) -> dict[str, Alarm]:
    """Two classes on gray images, whose difference of logits is -3 and what `rises` makes of the moves [N, 36]."""

    def twin(x: Tensor) -> Tensor:
        rivalry = rises((x - 128 / 255).flatten(1)) - 3
        return torch.stack([torch.zeros_like(rivalry), rivalry], 1)

    def engine(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return twin(torch.from_numpy(pixels).float() / 255).detach().numpy()

    labels = np.zeros(len(GRAY), np.int64)
    case = Case(engine=engine, twin=twin, images=GRAY, labels=labels, threat=THREAT)
    result = evaluate_robustness(case, [IDLE])
    assert result.clean == len(GRAY)
    return {alarm.name: alarm for alarm in look_for_alarms(case, result).alarms}


def wave(moves: Tensor) -> Tensor:
    """Highest half a radius away, and nothing at its end."""
    return (moves.mean(1) * torch.pi / THREAT.epsilon).sin()


def peak(moves: Tensor) -> Tensor:
    """Falls everywhere; along its gradient, of one pixel, least."""
    return moves[:, 0] - 1e3 * moves.square().sum(1)


def misled(moves: Tensor) -> Tensor:
    """Rises with the sum, but its gradient points down in 16 pixels of 36: one random step in four or five gains as
    much, and the best of five does on most images."""
    shown = moves[:, :20].sum(1) - moves[:, 20:].sum(1)
    return (moves.sum(1) - shown).detach() + shown


@pytest.mark.parametrize(("rises", "least", "most"), [(wave, 0, 0), (peak, 60, 60), (misled, 31, 59)])
def test_a_loss_is_flat_where_five_random_steps_of_half_a_radius_gain_as_much(
    rises: Callable[[Tensor], Tensor], least: int, most: int
) -> None:
    alarm = of_gray(rises)["flat loss"]
    assert alarm.n == 60
    assert least <= alarm.count <= most


def test_a_gradient_that_is_not_finite_counts_as_zero() -> None:
    alarm = of_gray(lambda moves: (0 * moves[:, 0]).sqrt())["zero gradient"]
    assert (alarm.count, alarm.n, alarm.raised) == (60, 60, True)
