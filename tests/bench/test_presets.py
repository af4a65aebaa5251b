from __future__ import annotations

import pytest

from hardtemper.bench.attacks.threat import ThreatModel
from hardtemper.bench.presets import PRESETS, attack_plans
from hardtemper.runtime.errors import RecipeError

PAPER = ThreatModel("linf", 0.1)


def test_the_papers_pgd() -> None:
    (plan,) = attack_plans("paper", PAPER)
    assert plan.name == "pgd-20"
    assert plan.target == "twin"
    assert plan.settings == {"steps": 20, "step_size": 0.01, "random_start": False, "early_stop": False}


@pytest.mark.parametrize(("preset", "steps", "queries"), [("quick", 20, 200), ("default", 100, 1000)])
def test_the_others_add_to_it(preset: str, steps: int, queries: int) -> None:
    pgd, apgd, square = attack_plans(preset, PAPER)
    assert (pgd.name, pgd.settings) == ("pgd-20", attack_plans("paper", PAPER)[0].settings)
    assert (apgd.name, apgd.target) == ("apgd-ce", "twin")
    assert apgd.settings["steps"] == steps
    assert (square.name, square.target) == ("square", "engine")
    assert square.settings == {"queries": queries}


@pytest.mark.parametrize("threat", ["linf:8/255", "l2:1.5", "linf:0.3"])
@pytest.mark.parametrize("preset", PRESETS)
def test_the_step_follows_the_radius(preset: str, threat: str) -> None:
    parsed = ThreatModel.parse(threat)
    assert attack_plans(preset, parsed)[0].settings["step_size"] == pytest.approx(parsed.epsilon / 10)


@pytest.mark.parametrize(("wrong", "near"), [("defualt", "default"), ("Paper", "paper"), ("quik", "quick")])
def test_unknown_names_are_refused_with_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(RecipeError, match=f"did you mean '{near}'"):
        attack_plans(wrong, PAPER)


def test_unknown_names_without_a_nearest() -> None:
    with pytest.raises(RecipeError, match=r"expected: paper, quick, default$"):
        attack_plans("xyz", PAPER)
