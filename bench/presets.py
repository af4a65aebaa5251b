"""Named sets of attacks, and what "PGD-20" and its kin mean here.

    paper     PGD-20 as in "Adversarial Fine-tuning of Compressed Neural Networks for Joint Improvement of Robustness
              and Efficiency": 20 steps of epsilon / 10 on the cross-entropy from x itself, the last iterate counts
    quick     PGD-20 as above, APGD-CE with 20 steps, Square with 200 queries
    default   PGD-20 as above, APGD-CE with 100 steps, Square with 1000 queries

APGD-CE and Square are two of AutoAttack's four (Croce & Hein 2020, arXiv:2003.01690), with its 100 steps and a fifth of
its queries. White-box attacks search on the twin, Square asks the engine itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from ..runtime.errors import RecipeError
from .attacks.apgd import apgd
from .attacks.pgd import pgd
from .attacks.result import AttackResult, attack_pixels
from .attacks.square import square
from .attacks.threat import ThreatModel
from .measurement import Setting

__all__ = ["PRESETS", "AttackPlan", "attack_plans"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackPlan:
    """One attack, ready to run on anything.

    Attributes:
        name: what it is called in a report.
        target: what is searched: the differentiable "twin" (white-box) or the "engine" (scores only).
        search: called as search(twin or engine, images, labels, threat=, seed=, **settings).
        settings: the attack's own.
    """

    name: str
    target: Literal["twin", "engine"]
    search: Callable[..., AttackResult]
    settings: Mapping[str, Setting]


def attack_plans(preset: str, threat: ThreatModel) -> tuple[AttackPlan, ...]:
    """The attacks of a preset; step sizes follow the threat model's radius.

    Raises:
        RecipeError: no such preset.
    """
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset.lower(), PRESETS, n=1, cutoff=0.4)
        raise RecipeError(
            f"unknown set of attacks {preset!r}",
            expected=", ".join(PRESETS),
            fix=f"did you mean {near[0]!r}?" if near else "",
        )
    return PRESETS[preset](threat)


def _pgd_20(threat: ThreatModel) -> AttackPlan:
    return AttackPlan(
        name="pgd-20",
        target="twin",
        search=partial(attack_pixels, "pgd-20", pgd),
        settings={"steps": 20, "step_size": threat.epsilon / 10, "random_start": False, "early_stop": False},
    )


def _apgd_ce(steps: int) -> AttackPlan:
    return AttackPlan(
        name="apgd-ce",
        target="twin",
        search=partial(attack_pixels, "apgd-ce", apgd),
        settings={"loss": "ce", "steps": steps, "restarts": 1},
    )


def _square(queries: int) -> AttackPlan:
    return AttackPlan(name="square", target="engine", search=square, settings={"queries": queries})


PRESETS: Mapping[str, Callable[[ThreatModel], tuple[AttackPlan, ...]]] = {
    "paper": lambda threat: (_pgd_20(threat),),
    "quick": lambda threat: (_pgd_20(threat), _apgd_ce(20), _square(200)),
    "default": lambda threat: (_pgd_20(threat), _apgd_ce(100), _square(1000)),
}
"""By name; the one called "default" is."""
