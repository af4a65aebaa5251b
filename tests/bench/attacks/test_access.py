from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from hardtemper.bench.attacks.access import Attack, BlackBoxAttack
from hardtemper.bench.attacks.catalogue import ATTACKS, AttackPlan
from hardtemper.bench.attacks.threat.threat_model import ThreatModel

THREATS = [ThreatModel("linf", 0.1), ThreatModel("l2", 1.5), ThreatModel("l1", 12.0)]


def plan_of(name: str) -> AttackPlan:
    """The attack in a threat model that it knows."""
    plans = [made for threat in THREATS if isinstance(made := ATTACKS[name](threat, 10), AttackPlan)]
    return plans[0]


def function_of(plan: AttackPlan) -> Callable[..., Any]:
    """The attack itself: a white-box one is wrapped to work on 8-bit images."""
    return plan.search.args[1] if isinstance(plan.search, partial) else plan.search


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_is_called_as_its_protocol_says(name: str) -> None:
    plan = plan_of(name)
    protocol = BlackBoxAttack if plan.target == "engine" else Attack
    wanted = dict(inspect.signature(protocol.__call__).parameters)
    del wanted["self"]
    found = inspect.signature(function_of(plan)).parameters
    for argument, parameter in wanted.items():
        assert found[argument].kind == parameter.kind, argument
        assert found[argument].annotation == parameter.annotation, argument
        assert (found[argument].default is parameter.empty) == (parameter.default is parameter.empty), argument
    positional = [each.name for each in found.values() if each.kind == each.POSITIONAL_OR_KEYWORD]
    assert positional == [each.name for each in wanted.values() if each.kind == each.POSITIONAL_OR_KEYWORD]


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_documents_its_own_settings_alone(name: str) -> None:
    """What all attacks have is said once, in the protocol."""
    plan = plan_of(name)
    protocol = BlackBoxAttack if plan.target == "engine" else Attack
    function = function_of(plan)
    text = inspect.getdoc(function) or ""
    assert f"See `{protocol.__name__}`" in text
    shared = set(inspect.signature(protocol.__call__).parameters) - {"queries"}
    documented = {
        word.strip()
        for line in text.partition("Args:")[2].splitlines()
        if line.startswith("    ") and not line.startswith("     ")
        for word in line.partition(":")[0].split(",")
    }
    own = set(inspect.signature(function).parameters) - shared
    assert own - {"queries"} <= documented
    assert not documented & shared
