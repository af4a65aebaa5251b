"""Everything about one engine's robustness: the verdict, its alarms, and what is asked for besides.

What cannot be attacked white-box is attacked with queries alone; then the figure is what queries leave, and says so.
The verdict counts every image in the ball that broke the engine, whatever it was searched for (`finds.py`).
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...runtime.engine import Engine
from ...runtime.progress import ProgressCallback
from ..attacks.catalogue import AttackPlan
from ..attacks.threat.threat_model import ThreatModel
from ..data.dataset import Dataset, Part
from ..measurement import Environment, Measurement, Skip
from ..resume import Pieces
from ..settings import BenchSettings
from ..subjects import Subject
from .alarms import look_for_alarms
from .archive import write_archive
from .curves import measure_curves
from .distances import measure_distances
from .evaluate import evaluate_robustness
from .incidental import Finds, Keep, forget
from .plan import Planned
from .verdict import RobustnessResult

__all__ = ["Attacked", "attack_subject"]

_BATCH = 256
_CURVE_IMAGES = 200
_LONGEST = 80  # letters of a file's name that say which attacks: systems take 255 in all


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Attacked:
    """What came out.

    Attributes:
        result: the verdict; None where no attack could be made.
        measurements: the verdict's, the alarms', and those that were asked for besides.
        perturbations: see `SubjectReport`.
        skipped: what was left out, and why.
        notes: what a reader of the numbers must know.
    """

    result: RobustnessResult | None = None
    measurements: tuple[Measurement, ...] = ()
    perturbations: tuple[tuple[int, float | None], ...] = ()
    skipped: tuple[Skip, ...] = ()
    notes: tuple[str, ...] = field(default=())


def attack_subject(
    subject: Subject,
    engine: Engine,
    dataset: Dataset,
    part: Part,
    *,
    planned: Planned,
    settings: BenchSettings,
    threat: ThreatModel,
    work: Path | None,
    pieces: Pieces | None,
    progress: ProgressCallback,
) -> Attacked:
    """Attack one engine as the settings say.

    Args:
        subject: what is attacked; `engine` is it, opened.
        dataset: where the images come from.
        part: the images that are attacked.
        planned: with what.
        work: a folder for the verdict with its adversarial images; None keeps nothing.
        pieces: where finished parts are kept, so that an interrupted run goes on.
        progress: told about every batch.

    Raises:
        InputError: `work` cannot be written.
        IntegrityError: the graph was replaced meanwhile.
    """
    if not planned.plans:
        return Attacked(skipped=(*planned.skipped, Skip(what="robust accuracy", reason=planned.reason)))
    result = evaluate_robustness(
        engine,
        subject.searched,
        part.images,
        part.labels,
        threat=threat,
        attacks=planned.plans,
        seed=settings.seed,
        others={name: other.searched for name, other in planned.models.items() if other.searched is not None},
        sequential=settings.remaining_only,
        batch_size=_BATCH,
        pieces=pieces,
        progress=progress,
    )
    finds = None if subject.twin is None else Finds(result, subject.twin, part.images, part.labels)
    keep = forget if finds is None else finds.keep
    checks = look_for_alarms(
        result, engine, subject.twin, part.images, part.labels, pieces=pieces, keep=keep, progress=progress
    )
    besides = _besides(
        subject, engine, part, settings=settings, threat=threat, pieces=pieces, keep=keep, progress=progress
    )
    result = result if finds is None else finds.result
    measurements = [*result.measurements(checks.raised)]
    measurements += [alarm.measurement(threat=str(threat), seed=settings.seed) for alarm in checks.alarms]
    notes = []
    if work is not None:
        subject.check()  # an archive names the graph that it is about
        path = work / _file_name(subject, dataset, part, planned=planned, settings=settings, threat=threat)
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
        measurements=(*measurements, *besides.measurements),
        perturbations=besides.perturbations,
        skipped=(*planned.skipped, *checks.skipped, *besides.skipped),
        notes=tuple(notes),
    )


def _besides(
    subject: Subject,
    engine: Engine,
    part: Part,
    *,
    settings: BenchSettings,
    threat: ThreatModel,
    pieces: Pieces | None,
    keep: Keep,
    progress: ProgressCallback,
) -> Attacked:
    """Curves, minimal perturbations and CLEVER scores where they are wanted."""
    if not settings.wants_curves:
        return Attacked()
    if subject.twin is None:
        return Attacked(skipped=(Skip(what="curves", reason=subject.no_twin),))
    some = part if len(part) <= _CURVE_IMAGES else part.subset(_CURVE_IMAGES, seed=settings.seed)
    place = {index: row for row, index in enumerate(part.indices.tolist())}
    places = np.array([place[index] for index in some.indices.tolist()])

    def keep_some(
        plan: AttackPlan, rows: NDArray[np.int64], candidates: NDArray[np.uint8], logits: NDArray[np.float32]
    ) -> None:
        keep(plan, places[rows], candidates, logits)

    given = (engine, subject.twin, some.images, some.labels)
    curves = measure_curves(*given, threat=threat, seed=settings.seed, pieces=pieces, keep=keep_some, progress=progress)
    distances, levels = measure_distances(
        *given, threat=threat, seed=settings.seed, pieces=pieces, keep=keep_some, progress=progress
    )
    perturbations = tuple(zip(some.indices.tolist(), levels, strict=True))
    return Attacked(measurements=(*curves, *distances), perturbations=perturbations)


def _file_name(
    subject: Subject, dataset: Dataset, part: Part, *, planned: Planned, settings: BenchSettings, threat: ThreatModel
) -> str:
    """Names what was asked and ends in a hash of all of it: one verdict is not replaced by another one's."""
    attacks = "+".join(name.strip() for name in settings.preset.split(","))[:_LONGEST]
    ball = str(threat).replace(":", "-").replace("/", "_").replace("->", "-to-")
    about = {
        "graph": subject.digest,
        "data": [dataset.name, dataset.source, dataset.classes],
        "attacks": [[plan.name, plan.target, dict(plan.settings)] for plan in planned.plans],
        "models": {name: other.digest for name, other in planned.models.items()},
        "sequential": settings.remaining_only,
        "curves": settings.wants_curves,
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for array in (part.images, part.labels, part.indices):
        digest.update(np.ascontiguousarray(array).data)
    name = f"{subject.name}-{attacks}-{ball}-n{len(part)}-seed{settings.seed}"
    return f"{name}-{digest.hexdigest()[:8]}.npz"
