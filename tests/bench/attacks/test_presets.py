from __future__ import annotations

import inspect

import pytest

from hardtemper.bench.attacks.catalogue import ATTACKS, AttackPlan
from hardtemper.bench.attacks.presets import PRESETS, choose_attacks, mentions, wants_parent
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.runtime.errors import RecipeError

PAPER = ThreatModel("linf", 0.1)
L2 = ThreatModel("l2", 1.5)
L1 = ThreatModel("l1", 12.0)


def names(wanted: str, threat: ThreatModel = PAPER, **how: object) -> list[str]:
    return [plan.name for plan in choose_attacks(wanted, threat, **how).plans]  # type: ignore[arg-type]


def one(wanted: str, threat: ThreatModel = PAPER) -> AttackPlan:
    (plan,) = choose_attacks(wanted, threat).plans
    return plan


def test_the_papers_pgd() -> None:
    plan = one("paper")
    assert (plan.name, plan.target) == ("pgd-20", "twin")
    assert plan.settings == {"steps": 20, "step_size": 0.01, "random_start": False, "early_stop": False}


def test_the_short_presets() -> None:
    assert names("quick") == ["pgd-20", "apgd-ce", "square"]
    assert names("default") == ["pgd-20", "apgd-ce", "apgd-t", "square"]
    for preset, steps, queries in (("quick", 20, 200), ("default", 100, 1000)):
        plans = {plan.name: plan for plan in choose_attacks(preset, PAPER).plans}
        assert plans["pgd-20"].settings == one("paper").settings
        assert plans["apgd-ce"].settings["steps"] == steps
        assert (plans["square"].target, plans["square"].settings) == ("engine", {"queries": queries})


def test_standard_is_autoattack_and_transfer() -> None:
    """The settings of `AutoAttack.set_version("standard")` for linf and l2."""
    plans = choose_attacks("standard", PAPER, others=["parent", "other"]).plans
    assert [(plan.name, plan.target) for plan in plans] == [
        ("apgd-ce", "twin"),
        ("apgd-t", "twin"),
        ("fab-t", "twin"),
        ("transfer-parent", "parent"),
        ("transfer-other", "other"),
        ("square", "engine"),
    ]
    assert plans[0].settings == {"loss": "ce", "steps": 100, "restarts": 1}
    assert plans[1].settings == {"loss": "dlr-targeted", "steps": 100, "restarts": 1, "targets": 9}
    assert plans[2].settings == {"targeted": True, "targets": 9, "steps": 100}
    assert plans[-1].settings == {"queries": 5000}
    assert one("apgd-ce", L1).settings["restarts"] == 5
    assert one("apgd-t", L1).settings["targets"] == 5


@pytest.mark.parametrize(
    ("threat", "left_out"),
    [
        (PAPER, {"cw"}),
        (L2, {"bim"}),
        (L1, {"bim", "cw", "deepfool", "hop-skip-jump", "nes", "zoo"}),
        (ThreatModel("linf", 0.1, 2), {"cw", "hop-skip-jump", "multi-targeted"}),
    ],
)
def test_full_is_everything_that_fits(threat: ThreatModel, left_out: set[str]) -> None:
    choice = choose_attacks("full", threat, others=["parent"])
    found = [plan.name for plan in choice.plans]
    assert set(found) == {*ATTACKS, "transfer-parent"} - left_out
    assert {skip.what for skip in choice.skipped} == left_out
    assert all(skip.reason.startswith(("it knows ", "it starts ", "it chooses ")) for skip in choice.skipped)
    kinds = [plan.target for plan in choice.plans]
    assert "twin" not in kinds[kinds.index("engine") :], "queries last: what only they broke is counted"
    assert "twin" not in kinds[kinds.index("parent") :]


@pytest.mark.parametrize(
    ("classes", "instead", "targeted"), [(4, "apgd-t", "apgd-dlr"), (3, "apgd-dlr", "pgd-cw"), (2, "pgd-cw", "pgd-cw")]
)
def test_few_classes(classes: int, instead: str, targeted: str) -> None:
    choice = choose_attacks("apgd-t", PAPER, classes=classes)
    assert [plan.name for plan in choice.plans] == [instead]
    assert [skip.what for skip in choice.skipped] == ([] if classes == 4 else ["apgd-t"])
    if choice.skipped:
        assert f"compares 4 logits here and there are {classes} classes; {instead} instead" in choice.skipped[0].reason
    assert names("apgd-dlr", ThreatModel("linf", 0.1, 1), classes=classes) == [targeted]


@pytest.mark.parametrize("threat", [PAPER, L2, L1, ThreatModel("linf", 0.1, 2)], ids=str)
def test_every_setting_is_one_that_the_attack_takes(threat: ThreatModel) -> None:
    for plan in choose_attacks("full, default, quick, paper", threat, others=["parent"]).plans:
        function = plan.search.args[1] if plan.target != "engine" else plan.search  # type: ignore[attr-defined]
        assert set(plan.settings) <= set(inspect.signature(function).parameters), plan.name
        assert all(isinstance(value, str | int | float | bool) for value in plan.settings.values())


def test_lists_of_names() -> None:
    assert names("apgd-ce, square") == ["apgd-ce", "square"]
    assert names("square,apgd-ce,square") == ["square", "apgd-ce"]
    plans = choose_attacks("quick,standard", PAPER).plans
    assert [plan.name for plan in plans] == ["pgd-20", "apgd-ce", "square", "apgd-t", "fab-t"]


@pytest.mark.parametrize("wanted", ["quick,standard", "standard,quick", "quick,standard,default", "default,standard"])
def test_more_names_are_no_weaker_than_one_of_them(wanted: str) -> None:
    plans = {plan.name: plan for plan in choose_attacks(wanted, PAPER).plans}
    for plan in choose_attacks("standard", PAPER).plans:
        assert plans[plan.name].settings == plan.settings


def test_transfer_is_made_on_whatever_there_is() -> None:
    assert names("transfer", others=["parent", "b"]) == ["transfer-parent", "transfer-b"]
    assert names("transfer") == []
    for preset in ("transfer", "standard", "full"):
        (skip,) = (skip for skip in choose_attacks(preset, PAPER).skipped if skip.what == "transfer")
        assert skip.reason == "there is no other network to make candidates on; name one with --transfer"
        assert "transfer" not in {skip.what for skip in choose_attacks(preset, PAPER, others=["b"]).skipped}
    assert choose_attacks("default", PAPER).skipped == ()
    assert names("paper", others=["b"]) == ["pgd-20", "transfer-b"], "a model that is brought is used"
    assert [wants_parent(name) for name in ("default", "standard", "quick,full", "transfer", "square")] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_presets_are_found_in_lists() -> None:
    assert mentions("quick, standard", "standard", "full")
    assert not mentions("quick,square", "standard", "full")


@pytest.mark.parametrize(
    ("threat", "step_size"),
    [("linf:0.1", 0.01), ("linf:8/255", 0.01), ("linf:2/255", 1 / 255), ("linf:0.3", 0.03), ("l2:1.5", 0.15)],
)
@pytest.mark.parametrize("preset", ["paper", "quick", "default"])
def test_pgd_20_has_the_papers_step_in_the_papers_balls(preset: str, threat: str, step_size: float) -> None:
    found = choose_attacks(preset, ThreatModel.parse(threat)).plans[0]
    assert (found.name, found.settings["steps"]) == ("pgd-20", 20)
    assert found.settings["step_size"] == pytest.approx(step_size)


@pytest.mark.parametrize(
    ("wrong", "near"), [("defualt", "default"), ("Paper", "paper"), ("quik", "quick"), ("quick,sqare", "square")]
)
def test_unknown_names_are_refused_with_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(RecipeError, match=f"did you mean '{near}'"):
        choose_attacks(wrong, PAPER)


@pytest.mark.parametrize("wrong", ["@", "", "quick,"])
def test_unknown_names_without_a_nearest(wrong: str) -> None:
    with pytest.raises(RecipeError, match=r"expected: paper, quick, default, standard, full, pgd-20, .*transfer$"):
        choose_attacks(wrong, PAPER)


def test_every_preset_holds_known_names() -> None:
    assert all(name in {*ATTACKS, "transfer"} for preset in PRESETS.values() for name in preset)
