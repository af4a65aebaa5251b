"""What follows by itself where an alarm says that gradients mislead: attacks past the operators that hide them.

Rule: if one of `FOLLOWED` is raised, images that withstood everything are searched on a smoother network near the
twin, by the attacks `_FOLLOWING` in turn, each on what is left (`white_box/surrogate.py`: BPDA, Athalye et al. 2018,
arXiv:1802.00420). The engine is asked about each candidate, and what breaks it counts in the union. Without such an
alarm nothing follows, and nothing is paid for.

What is left then is tried in the ball of the alarm "large epsilon", in which every image can be turned into one that
shows nothing. Whatever withstands there shows that these attacks fail as well: "no attack works".
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ..attacks.catalogue import ATTACKS, AttackPlan
from .alarm import Alarm
from .alarm_checks import some_of
from .case import Case
from .doubt import NO_ATTACK
from .incidental import RunningVerdict
from .radii import must_break

__all__ = ["FOLLOWED", "follow_up"]

FOLLOWED = frozenset({"flat loss", "large epsilon", "without gradients", "zero gradient"})
"""Alarms that gradients are hidden."""

_FOLLOWING = ("surrogate", "surrogate-backward")


def follow_up(case: Case, running: RunningVerdict, raised: Collection[str]) -> tuple[Alarm, ...]:
    """Search on where an alarm asks for it.

    Args:
        case: tells `running` of every candidate. Progress is told after each attack.
        running: the verdict so far.
        raised: the alarms that are raised.

    Returns:
        The check "no attack works", where there was something to follow and images are left.
    """
    if case.twin is None or FOLLOWED.isdisjoint(raised):
        return ()
    plans = [_named(name, case) for name in _FOLLOWING]
    for done, plan in enumerate(plans, 1):
        for start, rows in case.batches(running.result.robust.nonzero()[0]):
            case.withstands(plan, rows, seed=case.stream(start, done))
        case.progress("follow-up", done, len(plans), f"{int(running.result.robust.sum())} images unbroken")
    left = looked_at = some_of(running.result.robust, case.seed)
    threat = must_break(case.threat, case.images.shape[1:])
    for plan in plans:
        left = left[case.withstands(plan, left, threat=threat)]
    return (Alarm.of(NO_ATTACK, len(left), len(looked_at)),) if len(looked_at) else ()


def _named(name: str, case: Case) -> AttackPlan:
    plan = ATTACKS[name](case.threat, 0)
    assert isinstance(plan, AttackPlan)
    return replace(plan, name=f"follow-up {name}")
