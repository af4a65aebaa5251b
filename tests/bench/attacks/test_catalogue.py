from __future__ import annotations

import inspect
import pkgutil
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from hardtemper.bench.attacks import black_box, white_box
from hardtemper.bench.attacks.catalogue import ATTACKS, AttackPlan, on_twin, transfer
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.fgsm import fgsm
from hardtemper.bench.attacks.white_box.pgd import pgd

LINF = ThreatModel("linf", 0.1)
THREATS = [LINF, ThreatModel("l2", 1.5), ThreatModel("l1", 12.0), ThreatModel("linf", 0.1, 2)]
Task = Any  # the fixture's class, in conftest.py


def plans(threat: ThreatModel) -> list[AttackPlan]:
    """Of every attack that fits the threat model."""
    return [made for make in ATTACKS.values() if isinstance(made := make(threat, 10), AttackPlan)]


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("name", ATTACKS)
def test_a_plan_has_its_name_in_the_table_or_there_is_a_reason(name: str, threat: ThreatModel) -> None:
    made = ATTACKS[name](threat, 10)
    if isinstance(made, AttackPlan):
        assert made.name == name
        assert made.target in ("twin", "engine")
    else:
        assert made
        assert not made.endswith(".")


def test_white_box_attacks_come_first() -> None:
    targets = [plan.target for plan in plans(ThreatModel("l2", 1.5))]
    assert targets == sorted(targets, key=["twin", "engine"].index)


def test_every_attack_of_the_folders_is_in_the_table() -> None:
    """An attack is a function that has the name of its file."""
    written = set()
    for folder in (white_box, black_box):
        for module in pkgutil.iter_modules(folder.__path__, folder.__name__ + "."):
            name = module.name.rpartition(".")[2]
            function = getattr(import_module(module.name), name, None)
            if inspect.isfunction(function) and "threat" in inspect.signature(function).parameters:
                written.add(name)
    made = [plan for threat in THREATS for plan in plans(threat)]
    functions = [plan.search.args[1] if isinstance(plan.search, partial) else plan.search for plan in made]
    assert written == {function.__name__ for function in functions}


def test_a_plan_runs(task: Task) -> None:
    plan = on_twin("mine", fgsm, loss="margin")
    assert (plan.name, plan.target, plan.settings) == ("mine", "twin", {"loss": "margin"})
    result = plan.search(task.model, task.pixels[:4], task.labels[:4], threat=LINF, seed=0, **plan.settings)
    assert (result.name, result.settings["loss"]) == ("mine", "margin")
    assert LINF.contains(result.adversarial, task.pixels[:4]).all()


def test_changed_settings_leave_the_plan_as_it_was() -> None:
    plan = on_twin("mine", pgd, steps=5, step_size=0.01)
    changed = plan.with_settings(steps=9, restarts=2)
    assert changed.settings == {"steps": 9, "step_size": 0.01, "restarts": 2}
    assert plan.settings == {"steps": 5, "step_size": 0.01}
    assert changed.search is plan.search


def test_transfer_raises_the_loss_to_the_last_step() -> None:
    plan = transfer("parent", ThreatModel("l2", 1.5))
    assert (plan.name, plan.target) == ("transfer-parent", "parent")
    assert plan.settings["early_stop"] is False
    assert plan.settings["step_size"] == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("name", "threat", "classes", "reason"),
    [
        ("apgd-t", LINF, 3, "the difference of logits ratio compares 4 logits here and there are 3 classes"),
        ("pgd-dlr", LINF, 2, "the difference of logits ratio compares 3 logits here and there are 2 classes"),
        ("cw", LINF, 10, "it knows l2 only"),
        ("bim", ThreatModel("l2", 1.5), 10, "it knows linf only"),
        ("nes", ThreatModel("l1", 12.0), 10, "it knows linf and l2 only"),
        ("multi-targeted", ThreatModel("linf", 0.1, 1), 10, "it chooses the classes it aims at itself"),
        ("hop-skip-jump", ThreatModel("linf", 0.1, 1), 10, "it starts from images of the target's class"),
    ],
)
def test_what_does_not_fit_says_why(name: str, threat: ThreatModel, classes: int, reason: str) -> None:
    made = ATTACKS[name](threat, classes)
    assert isinstance(made, str)
    assert made.startswith(reason)


@pytest.mark.parametrize("name", ["fgsm", "square"])
def test_an_attack_of_no_images(task: Task, name: str) -> None:
    plan = ATTACKS[name](LINF, 6)
    assert isinstance(plan, AttackPlan)
    asked = task.scores if plan.target == "engine" else task.model
    result = plan.search(asked, task.pixels[:0], task.labels[:0], threat=LINF, seed=0, **plan.settings)
    assert result.adversarial.shape == (0, *task.pixels.shape[1:])
    assert result.adversarial.dtype == np.uint8
