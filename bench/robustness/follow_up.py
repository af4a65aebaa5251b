"""What follows by itself where an alarm says that gradients mislead: attacks past the operators that hide them.

Rule: if one of `FOLLOWED` is raised, images that withstood everything are searched on a smoother network near the twin,
by the attacks `_FOLLOWING` in turn, each on what the one before left (`white_box/surrogate.py`: BPDA, Athalye et al. 2018,
arXiv:1802.00420). The engine is asked about each candidate, and what breaks it counts in the union. Without such an
alarm nothing follows, and nothing is paid for.
"""

from __future__ import annotations

from collections.abc import Collection

from ..attacks.catalogue import ATTACKS, AttackPlan
from .case import Case
from .incidental import RunningVerdict

__all__ = ["FOLLOWED", "follow_up"]

FOLLOWED = frozenset({"flat loss", "large epsilon", "without gradients", "zero gradient"})
"""Alarms that gradients are hidden."""

_FOLLOWING = ("surrogate", "surrogate-backward")


def follow_up(case: Case, running: RunningVerdict, raised: Collection[str]) -> None:
    """Search on where an alarm asks for it.

    Args:
        case: tells `running` of every candidate. Progress is told after each attack.
        running: the verdict so far.
        raised: the alarms that are raised.
    """
    if case.twin is None or FOLLOWED.isdisjoint(raised):
        return
    for done, name in enumerate(_FOLLOWING, 1):
        plan = ATTACKS[name](case.threat, 0)
        assert isinstance(plan, AttackPlan)
        for start, rows in case.batches(running.result.robust.nonzero()[0]):
            case.withstands(_named(plan), rows, seed=case.stream(start, done))
        case.progress("follow-up", done, len(_FOLLOWING), f"{int(running.result.robust.sum())} images unbroken")


def _named(plan: AttackPlan) -> AttackPlan:
    return AttackPlan(name=f"follow-up {plan.name}", target=plan.target, search=plan.search, settings=plan.settings)
