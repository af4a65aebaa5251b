"""What is attacked and with what, decided before anything is measured: images, attacks, networks to transfer from.

An attack that no network could be attacked with is refused, as is a choice without images; an attack that only this
network cannot be attacked with is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...runtime.errors import DataError, RecipeError
from ..attacks.catalogue import AttackPlan
from ..attacks.presets import choose_attacks
from ..attacks.threat.threat_model import ThreatModel
from ..data.dataset import Dataset, Part
from ..measurement import Skip
from ..settings import BenchSettings
from ..subjects import Subject

__all__ = ["AttackSchedule", "choose_images", "plan_attacks"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackSchedule:
    """The attacks on one engine.

    Attributes:
        plans: attacks that can be made, in order.
        models: other networks to make candidates on, by name.
        skipped: attacks that cannot be made, and why.
        fits: whether the names stand for any attack at all, even one that needs a twin where there is none.
        reason: why there is none to make; "" where there is one.
    """

    plans: tuple[AttackPlan, ...]
    models: Mapping[str, Subject]
    skipped: tuple[Skip, ...]
    fits: bool
    reason: str


def choose_images(dataset: Dataset, settings: BenchSettings, threat: ThreatModel) -> Part:
    """Images to attack, drawn (`Part.at_most`); none of the target's.

    Raises:
        RecipeError: the target is no class.
        DataError: every image is of the target's class.
    """
    part = dataset.test
    if threat.target is not None:
        if threat.target >= len(dataset.classes):
            expected = f"a class from 0 to {len(dataset.classes) - 1}"
            raise RecipeError(f"the target of {threat} is no class of {dataset.name}", expected=expected)
        kept = part.labels != threat.target
        part = replace(part, images=part.images[kept], labels=part.labels[kept], indices=part.indices[kept])
    if not len(part):
        raise DataError(f"{dataset.name}: no test image to attack in {threat}", expected="images of other classes")
    return part.at_most(settings.images, seed=settings.seed)


def plan_attacks(
    subjects: Sequence[Subject],
    *,
    classes: int,
    settings: BenchSettings,
    threat: ThreatModel,
    others: Sequence[Subject],
) -> dict[str, AttackSchedule]:
    """The attacks on each engine, by its name.

    Args:
        subjects: what is attacked.
        classes: of the networks.
        others: other networks to make candidates on.

    Raises:
        RecipeError: no attack that was asked for fits the threat model, the number of classes and the networks.
    """
    found = {subject.name: _plan(subject, classes, settings, threat, others) for subject in subjects}
    if not any(schedule.fits for schedule in found.values()):
        reason = list(found.values())[-1].reason
        raise RecipeError(f"nothing to attack with: {reason}", fix="name other attacks (--attack), or leave them out")
    return found


def _plan(
    subject: Subject, classes: int, settings: BenchSettings, threat: ThreatModel, others: Sequence[Subject]
) -> AttackSchedule:
    models = {other.name: other for other in others if other.digest != subject.digest and other.twin is not None}
    choice = choose_attacks(settings.preset, threat, classes=classes, others=tuple(models))
    plans = tuple(plan for plan in choice.plans if plan.target != "twin" or subject.twin is not None)
    if plans:
        reason = ""
    elif choice.plans:
        reason = f"every attack of {settings.preset!r} searches on the twin; quick and default also ask the engine"
    else:
        what = "; ".join(f"{skip.what}: {skip.reason}" for skip in choice.skipped)
        reason = f"no attack of {settings.preset!r} is left ({what})"
    return AttackSchedule(
        plans=plans,
        models=models,
        skipped=(*choice.skipped, *_without_twin(subject, choice.plans), *_unlike(subject, others)),
        fits=bool(choice.plans),
        reason=reason,
    )


def _without_twin(subject: Subject, plans: Sequence[AttackPlan]) -> list[Skip]:
    names = [plan.name for plan in plans if plan.target == "twin"]
    if subject.twin is not None or not names:
        return []
    return [Skip(what=", ".join(names), reason=subject.no_twin)]


def _unlike(subject: Subject, others: Sequence[Subject]) -> list[Skip]:
    found = []
    for other in others:
        if other.twin is None:
            found.append(Skip(what=f"transfer-{other.name}", reason=other.no_twin))
        elif other.digest == subject.digest and other.name != "parent":
            found.append(Skip(what=f"transfer-{other.name}", reason="it is the attacked network itself"))
    return found
