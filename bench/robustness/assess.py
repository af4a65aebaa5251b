"""Everything about one engine's robustness: the verdict, its alarms, and curves and distances if they were asked for.

An engine without a twin is attacked with queries alone; then the figure is what queries leave, and says so. The verdict
counts every image in the ball that broke the engine, whatever it was searched for (`incidental.py`). A random engine is
judged by the vote of many answers (`random_engine.py`), and attacks follow an alarm by themselves (`follow_up.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..data.dataset import Part
from ..measurement import Measurement, Setting, Skip
from ..randomness import is_random
from ..settings import BenchSettings
from ..subjects import Subject
from .alarm import Alarm
from .alarm_checks import look_for_alarms
from .case import Case
from .curves import measure_curves
from .distances import measure_distances
from .doubt import WRONG_TWIN
from .evaluate import evaluate_robustness
from .follow_up import follow_up
from .incidental import RunningVerdict
from .plan import AttackSchedule
from .random_engine import draws_of
from .standing import check_access, check_twin
from .verdict import RobustnessResult

__all__ = ["Assessment", "assess"]

_CURVE_IMAGES = 200


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Assessment:
    """What came out.

    Attributes:
        result: the verdict; None where no attack could be made.
        measurements: of the verdict, the alarms, the curves and the distances.
        perturbations: see `SubjectReport`.
        raised: names of the alarms that are raised, those of the clean images among them.
        skipped: what was left out, and why.
    """

    result: RobustnessResult | None = None
    measurements: tuple[Measurement, ...] = ()
    perturbations: tuple[tuple[int, float | None], ...] = ()
    raised: tuple[str, ...] = ()
    skipped: tuple[Skip, ...] = ()


def assess(
    case: Case,
    subject: Subject,
    part: Part,
    *,
    schedule: AttackSchedule,
    settings: BenchSettings,
    clean: Sequence[Alarm] = (),
) -> Assessment:
    """Attack one engine as the settings say.

    Args:
        case: the subject's engine and twin, and the images of `part`.
        subject: what is attacked.
        part: the images that are attacked, with their places in the test split.
        schedule: the attacks.
        settings: whether attacks are sequential, and whether curves are wanted.
        clean: alarms of the engine's clean images, which are told beside the verdict too.
    """
    if not schedule.plans:
        return Assessment(skipped=(*schedule.skipped, Skip(what="robust accuracy", reason=schedule.reason)))
    random = is_random(case.engine, case.images)
    judged = draws_of(case) if random else case
    against = [] if case.twin is None else [check_twin(judged)]
    searched = replace(case, twin=subject.searched)
    verdict = evaluate_robustness(
        draws_of(searched) if random else searched,
        schedule.plans,
        others={name: other.searched for name, other in schedule.models.items() if other.searched is not None},
        sequential=settings.remaining_only,
    )
    running = RunningVerdict(verdict, judged)
    watched = replace(judged, keep=running.keep)
    checks = look_for_alarms(watched, verdict)
    standing = [*against, check_access(verdict)]
    followed = follow_up(watched, running, checks.raised)
    alarms = (*(check for check in standing if isinstance(check, Alarm)), *checks.alarms, *followed)
    raised = tuple(alarm.name for alarm in (*clean, *alarms) if alarm.raised)
    further = Assessment()
    if settings.wants_curves and WRONG_TWIN in raised:
        further = Assessment(skipped=(Skip(what="curves", reason="the twin differs from the engine on clean images"),))
    elif settings.wants_curves:
        further = _curves(watched, subject, part)
    about: Mapping[str, Setting] = {"threat": str(case.threat), "seed": case.seed}
    return Assessment(
        result=running.result,
        measurements=(
            *running.result.measurements(raised),
            *(alarm.measurement(**about) for alarm in alarms),
            *further.measurements,
        ),
        perturbations=further.perturbations,
        raised=raised,
        skipped=(
            *schedule.skipped,
            *(check for check in against if isinstance(check, Skip)),
            *checks.skipped,
            *further.skipped,
        ),
    )


def _curves(case: Case, subject: Subject, part: Part) -> Assessment:
    """Curves, minimal perturbations and CLEVER scores, on some of the images."""
    if subject.twin is None:
        return Assessment(skipped=(Skip(what="curves", reason=subject.no_twin),))
    some = part.at_most(_CURVE_IMAGES, seed=case.seed)
    row_of = {index: row for row, index in enumerate(part.indices.tolist())}
    drawn = case.subset(np.array([row_of[index] for index in some.indices.tolist()]))
    curves = measure_curves(drawn)
    distances, levels = measure_distances(drawn)
    perturbations = tuple(zip(some.indices.tolist(), levels, strict=True))
    return Assessment(measurements=(*curves, *distances), perturbations=perturbations)
