"""Everything about one engine's robustness: the verdict, its alarms, and what is asked for besides.

What cannot be attacked white-box is attacked with queries alone; then the figure is what queries leave, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..runtime.engine import Engine
from ..runtime.progress import ProgressCallback
from .alarms import look_for_alarms
from .archive import write_archive
from .attacks.threat import ThreatModel
from .curves import measure_curves
from .data.dataset import Dataset, Part
from .distances import measure_distances
from .measurement import Environment, Measurement, Skip
from .pieces import Pieces
from .plans import AttackPlan
from .presets import choose_attacks
from .robust import evaluate_robustness
from .settings import BenchSettings
from .subjects import Subject
from .verdict import RobustnessResult

__all__ = ["Attacked", "attack_subject"]

_BATCH = 256
_CURVE_IMAGES = 200


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Attacked:
    """What came out.

    Attributes:
        result: the verdict; None where no attack could be made.
        measurements: the verdict's, the alarms', and those that were asked for besides.
        skipped: what was left out, and why.
        notes: what a reader of the numbers must know.
    """

    result: RobustnessResult | None = None
    measurements: tuple[Measurement, ...] = ()
    skipped: tuple[Skip, ...] = ()
    notes: tuple[str, ...] = field(default=())


def attack_subject(
    subject: Subject,
    engine: Engine,
    dataset: Dataset,
    *,
    settings: BenchSettings,
    threat: ThreatModel,
    others: Sequence[Subject],
    work: Path | None,
    pieces: Pieces | None,
    progress: ProgressCallback,
) -> Attacked:
    """Attack one engine as the settings say.

    Args:
        subject: what is attacked; `engine` is it, opened.
        dataset: its test part is attacked.
        others: networks to make candidates on besides.
        work: a folder for the verdict with its adversarial images; None keeps nothing.
        pieces: where finished parts are kept, so that an interrupted run goes on.
        progress: told about every batch.

    Raises:
        InputError: `work` cannot be written.
    """
    part = _chosen(dataset.test, settings, threat)
    models = {other.name: other for other in others if other.digest != subject.digest and other.twin is not None}
    choice = choose_attacks(settings.preset, threat, classes=len(engine.labels), others=tuple(models))
    usable = [plan for plan in choice.plans if plan.target != "twin" or subject.twin is not None]
    skipped = [*choice.skipped, *_without_twin(subject, choice.plans), *_unlike(subject, others)]
    if not usable:
        reason = f"every attack of {settings.preset!r} searches on the twin; quick and default also ask the engine"
        return Attacked(skipped=(*skipped, Skip(what="robust accuracy", reason=reason)))
    result = evaluate_robustness(
        engine,
        subject.searched,
        part.images,
        part.labels,
        threat=threat,
        attacks=usable,
        seed=settings.seed,
        others={name: other.searched for name, other in models.items() if other.searched is not None},
        sequential=settings.remaining_only,
        batch_size=_BATCH,
        pieces=pieces,
        progress=progress,
    )
    alarms = look_for_alarms(result, engine, subject.twin, part.images, part.labels, pieces=pieces, progress=progress)
    measurements = [*result.measurements([alarm.name for alarm in alarms if alarm.raised])]
    measurements += [alarm.measurement(threat=str(threat), seed=settings.seed) for alarm in alarms]
    besides, missing = _besides(
        subject, engine, part, settings=settings, threat=threat, pieces=pieces, progress=progress
    )
    notes = []
    if work is not None:
        path = work / _file_name(subject, settings, threat, len(part))
        archive = result.archive(
            part,
            classes=len(dataset.classes),
            subject=subject.name,
            path=str(subject.path),
            graph_sha256=subject.digest,
            dataset=dataset.name,
            source=dataset.source,
            split="test",
            sequential=settings.remaining_only,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            environment=Environment.here().to_dict(),
        )
        write_archive(archive, path)
        notes.append(f"adversarial images, for `toolchain replay`: {path}")
    return Attacked(
        result=result,
        measurements=(*measurements, *besides),
        skipped=(*skipped, *missing),
        notes=tuple(notes),
    )


def _chosen(test: Part, settings: BenchSettings, threat: ThreatModel) -> Part:
    """Images to attack: drawn, not the first ones, as many test splits are sorted by class; none of the target's."""
    part = test
    if threat.target is not None:
        kept = part.labels != threat.target
        part = replace(part, images=part.images[kept], labels=part.labels[kept], indices=part.indices[kept])
    count = settings.images
    return part if count is None or count >= len(part) else part.subset(count, seed=settings.seed)


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


def _besides(
    subject: Subject,
    engine: Engine,
    part: Part,
    *,
    settings: BenchSettings,
    threat: ThreatModel,
    pieces: Pieces | None,
    progress: ProgressCallback,
) -> tuple[list[Measurement], list[Skip]]:
    """Curves, minimal perturbations and CLEVER scores where they are wanted."""
    if not settings.wants_curves:
        return [], []
    if subject.twin is None:
        return [], [Skip(what="curves", reason=subject.no_twin)]
    some = part if len(part) <= _CURVE_IMAGES else part.subset(_CURVE_IMAGES, seed=settings.seed)
    found = [
        measurement
        for measure in (measure_curves, measure_distances)
        for measurement in measure(
            engine,
            subject.twin,
            some.images,
            some.labels,
            threat=threat,
            seed=settings.seed,
            pieces=pieces,
            progress=progress,
        )
    ]
    return found, []


def _file_name(subject: Subject, settings: BenchSettings, threat: ThreatModel, n: int) -> str:
    """Names what was asked, so that the verdict of an hour is not replaced by another of a minute."""
    attacks = "+".join(name.strip() for name in settings.preset.split(","))
    ball = str(threat).replace(":", "-").replace("/", "_").replace("->", "-to-")
    return f"{subject.name}-{attacks}-{ball}-n{n}-seed{settings.seed}.npz"
