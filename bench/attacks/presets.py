"""Named sets of attacks.

    paper      PGD-20, for comparison with papers' tables; it flatters
    quick      PGD-20, APGD-CE with 20 steps, Square with 200 queries
    default    PGD-20, APGD-CE, APGD-T towards the 3 likeliest classes with 30 steps, Square with 1000 queries
    standard   AutoAttack's plain ensemble (Croce & Hein 2020, arXiv:2003.01690): APGD-CE, APGD-T and FAB-T on the twin,
               Square with 5000 queries on the engine; and transfer
    full       standard and every other attack that fits the threat model

"transfer" stands for one attack on each other model there is: the dense float network that a bundle was made from, and
whatever the caller brings. With fewer than 4 classes the targeted difference of logits ratio does not exist; then, as
AutoAttack advises, the untargeted one is taken, and with 2 classes the margin. Settings are those of `catalogue`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...runtime.errors import RecipeError
from ..measurement import Setting, Skip
from .catalogue import ATTACKS, AttackPlan, transfer
from .threat.threat_model import ThreatModel

__all__ = ["PRESETS", "Choice", "choose_attacks", "mentions", "wants_parent"]

TRANSFER = "transfer"

_STANDARD = ("apgd-ce", "apgd-t", "fab-t", TRANSFER, "square")

PRESETS: Mapping[str, tuple[str, ...]] = {
    "paper": ("pgd-20",),
    "quick": ("pgd-20", "apgd-ce", "square"),
    "default": ("pgd-20", "apgd-ce", "apgd-t", "square"),
    "standard": _STANDARD,
    "full": (
        *_STANDARD[:3],
        *(name for name in ATTACKS if name not in _STANDARD),
        *_STANDARD[3:],
    ),
}
"""By name; the one called "default" is."""

_CHANGED: Mapping[str, Mapping[str, Mapping[str, Setting]]] = {
    "quick": {"apgd-ce": {"steps": 20}, "square": {"queries": 200}},
    "default": {"apgd-t": {"steps": 30, "targets": 3}, "square": {"queries": 1000}},
}

_INSTEAD = {"apgd-t": "apgd-dlr", "apgd-dlr": "pgd-cw", "pgd-dlr": "pgd-cw"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What was chosen.

    Attributes:
        plans: in the order in which they run, names all different.
        skipped: what the names stand for and does not fit the threat model, the number of classes or the models.
    """

    plans: tuple[AttackPlan, ...]
    skipped: tuple[Skip, ...]


def mentions(names: str, *presets: str) -> bool:
    """Whether a list of names holds one of these presets."""
    return not set(presets).isdisjoint(_split(names))


def wants_parent(names: str) -> bool:
    """Whether a list of names holds transfer from the network that a bundle was made from."""
    return any(TRANSFER in PRESETS.get(name, (name,)) for name in _split(names))


def choose_attacks(names: str, threat: ThreatModel, *, classes: int = 10, others: Sequence[str] = ()) -> Choice:
    """The attacks behind a name or a list of names, "quick" or "apgd-ce, square"; step sizes follow the radius.

    Args:
        names: presets, attacks and "transfer", separated by commas; what comes twice runs once, in its first place and
            with the settings that cost more: "quick,standard" is no weaker than "standard".
        threat: the ball.
        classes: of the classifier.
        others: models for transfer, by name; they are attacked whether or not `names` holds "transfer".

    Raises:
        RecipeError: no such name.
    """
    plans: dict[str, AttackPlan] = {}
    skipped: dict[str, Skip] = {}
    wanted = [(name, _CHANGED.get(preset, {})) for preset in _split(names) for name in _attacks_of(preset)]
    if others and TRANSFER not in (name for name, _ in wanted):
        wanted.append((TRANSFER, {}))
    for name, changed in wanted:
        if name == TRANSFER:
            found = [transfer(model, threat) for model in others]
            if not others:
                reason = "there is no other network to make candidates on; name one with --transfer"
                skipped.setdefault(name, Skip(what=name, reason=reason))
        else:
            plan, skip = _fitting(name, threat, classes)
            if skip is not None:
                skipped.setdefault(name, skip)
            found = [] if plan is None else [plan]
            if plan is not None and plan.name in changed:
                found = [plan.with_settings(**changed[plan.name])]
        for plan in found:
            plans[plan.name] = max(plans.get(plan.name, plan), plan, key=_cost)
    return Choice(plans=tuple(plans.values()), skipped=tuple(skipped.values()))


def _cost(plan: AttackPlan) -> int:
    """Passes an image, but for a factor that is the attack's own."""
    settings = [plan.settings.get(name, 1) for name in ("steps", "restarts", "targets", "searches", "queries")]
    return math.prod(number for number in settings if isinstance(number, int))


def _fitting(name: str, threat: ThreatModel, classes: int) -> tuple[AttackPlan | None, Skip | None]:
    made = ATTACKS[name](threat, classes)
    if isinstance(made, AttackPlan):
        return made, None
    if name not in _INSTEAD:
        return None, Skip(what=name, reason=made)
    plan, _ = _fitting(_INSTEAD[name], threat, classes)
    return plan, Skip(what=name, reason=made + (f"; {plan.name} instead" if plan else ""))


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",")]


def _attacks_of(name: str) -> tuple[str, ...]:
    known = [*PRESETS, *ATTACKS, TRANSFER]
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.4)
        raise RecipeError(
            f"unknown attack or set of attacks {name!r}",
            expected=", ".join(known),
            fix=f"did you mean {near[0]!r}?" if near else "",
        )
    return PRESETS.get(name, (name,))
