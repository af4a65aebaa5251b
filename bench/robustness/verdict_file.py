"""Stores a verdict with its adversarial images for `toolchain replay`, under a name that says what was asked.

Rule: the name ends in a hash of everything that was asked, so that one verdict does not replace another one's.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..data.dataset import Dataset, Part
from ..measurement import Environment
from ..settings import BenchSettings
from ..subjects import Subject
from .archive import write_archive
from .plan import AttackSchedule
from .verdict import RobustnessResult

__all__ = ["store_verdict"]

_LONGEST = 80  # letters of a file's name that say which attacks: systems take 255 in all


def store_verdict(
    result: RobustnessResult,
    folder: Path,
    *,
    subject: Subject,
    dataset: Dataset,
    part: Part,
    schedule: AttackSchedule,
    settings: BenchSettings,
    alarms: Sequence[str],
) -> Path:
    """Write a verdict.

    Args:
        result: the verdict.
        folder: where the file shall lie.
        subject: what was attacked.
        dataset: where the images come from.
        part: the images that were attacked, in that order.
        schedule: the attacks that were planned.
        settings: of the run.
        alarms: names of those that are raised.

    Returns:
        The file.

    Raises:
        InputError: it cannot be written.
    """
    path = folder / _file_name(result, subject, dataset, part, schedule=schedule, settings=settings)
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
        alarms=list(alarms),
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        backend=subject.backend,
        environment=Environment.here(subject.backend).to_dict(),
    )
    write_archive(archive, path)
    return path


def _file_name(
    result: RobustnessResult,
    subject: Subject,
    dataset: Dataset,
    part: Part,
    *,
    schedule: AttackSchedule,
    settings: BenchSettings,
) -> str:
    attacks = "+".join(name.strip() for name in settings.preset.split(","))[:_LONGEST]
    ball = str(result.threat).replace(":", "-").replace("/", "_").replace("->", "-to-")
    about = {
        "graph": subject.digest,
        "data": [dataset.name, dataset.source, dataset.classes],
        "attacks": [[plan.name, plan.target, dict(plan.settings)] for plan in schedule.plans],
        "models": {name: other.digest for name, other in schedule.models.items()},
        "sequential": settings.remaining_only,
        "curves": settings.wants_curves,
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for array in (part.images, part.labels, part.indices):
        digest.update(np.ascontiguousarray(array).data)
    name = f"{subject.name}-{attacks}-{ball}-n{len(part)}-seed{settings.seed}"
    return f"{name}-{digest.hexdigest()[:8]}.npz"
