"""One bench run: everything about a bundle or an ONNX file that this machine can measure, in one report.

A bundle's engine is measured beside the dense float network it came from, in the same run on the same images. What is
not measured is listed with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from ..runtime.engine import Engine
from ..runtime.errors import DataError, ModelError
from ..runtime.progress import ProgressCallback, silent
from .agreement import Agreement, compare, twin_logits
from .attacks.threat import ThreatModel
from .data.dataset import Dataset, Part
from .latency import measure_latency
from .measurement import Environment, Measurement, share
from .memory import measure_memory
from .outcome import BenchReport, Skip, SubjectReport
from .presets import attack_plans
from .robust import RobustnessResult, evaluate_robustness, right_answers
from .settings import BenchSettings, default_threat
from .size import measure_size
from .subjects import Subject, open_subjects

__all__ = ["run_bench"]

_BATCH = 256


def run_bench(
    target: Path,
    dataset: Dataset,
    settings: BenchSettings | None = None,
    *,
    progress: ProgressCallback = silent,
) -> BenchReport:
    """Measure a bundle or an ONNX file.

    Args:
        target: a bundle's folder or an ONNX file with 8-bit pixels, or floats in [0, 1], as input.
        dataset: its test part is used.
        settings: see `BenchSettings`.
        progress: told about every batch; tasks are named "dense: pgd-20" and so on.

    Raises:
        BundleError, ModelError: the target cannot be opened.
        DataError: the data set does not fit the network.
    """
    settings = settings or BenchSettings()
    start, created = time.perf_counter(), datetime.now(timezone.utc)
    threat = settings.threat or default_threat(dataset.input_shape)
    subjects = open_subjects(target, dense=settings.dense)
    for subject in subjects:
        _check_data(subject.open(settings.threads), dataset, target)
    clean = _chosen(dataset.test, settings.clean_images, settings.seed)
    times = _latencies(subjects, clean, settings, progress)
    reports = tuple(
        _measure(
            subject,
            times=times[subject.name],
            clean=clean,
            test=dataset.test,
            settings=settings,
            threat=threat,
            progress=progress,
        )
        for subject in subjects
    )
    return BenchReport(
        target=str(target),
        dataset=dataset.name,
        source=dataset.source,
        created=created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=time.perf_counter() - start,
        settings=settings.to_dict(threat),
        environment=Environment.here(),
        subjects=reports,
    )


def _check_data(engine: Engine, dataset: Dataset, target: Path) -> None:
    if dataset.input_shape != engine.input_shape:
        raise DataError(
            f"{dataset.name}: the images do not fit {target}",
            expected=f"[N, {', '.join(map(str, engine.input_shape))}]",
            got=f"[N, {', '.join(map(str, dataset.input_shape))}]",
            fix="name the data that the network was trained on (--data)",
        )
    if len(dataset.classes) != len(engine.labels):
        raise DataError(
            f"{dataset.name}: the classes do not fit {target}",
            expected=f"{len(engine.labels)} classes, as the network's logits",
            got=str(len(dataset.classes)),
            fix="name the data that the network was trained on (--data)",
        )
    if engine.labels != dataset.classes and sorted(engine.labels) == sorted(dataset.classes):
        raise DataError(
            f"{dataset.name}: the classes are those of {target} in another order",
            expected=", ".join(engine.labels),
            got=", ".join(dataset.classes),
            fix="bring the data set's classes into the network's order",
        )


def _chosen(part: Part, count: int | None, seed: int) -> Part:
    # Drawn, not the first ones: many test splits are sorted by class.
    return part if count is None or count >= len(part) else part.subset(count, seed=seed)


def _latencies(
    subjects: tuple[Subject, ...], part: Part, settings: BenchSettings, progress: ProgressCallback
) -> Mapping[str, list[Measurement]]:
    engines = {subject.name: subject.open(settings.threads) for subject in subjects}
    found: dict[str, list[Measurement]] = {name: [] for name in engines}
    for batch in settings.batches:
        latencies = measure_latency(
            engines,
            part.images,
            batch=batch,
            warmup=settings.warmup,
            repeats=settings.repeats,
            min_seconds=settings.min_seconds,
            progress=progress,
        )
        for latency in latencies:
            measurements = latency.measurements(threads=settings.threads, beside=latencies[0].name)
            found[latency.name] += measurements if len(engines) > 1 else measurements[:2]
    return found


def _measure(
    subject: Subject,
    *,
    times: list[Measurement],
    clean: Part,
    test: Part,
    settings: BenchSettings,
    threat: ThreatModel,
    progress: ProgressCallback,
) -> SubjectReport:
    def told(task: str, done: int, total: int, text: str) -> None:
        progress(f"{subject.name}: {task}", done, total, text)

    engine = subject.open(None)
    skipped = []
    measurements = [*measure_size(subject.graph)]
    if subject.twin is not None:
        weights = sum(parameter.numel() for parameter in subject.twin.parameters())
        measurements.append(Measurement(name="parameters", value=weights, unit="numbers", n=1))
    measurements += times
    for index, batch in enumerate(settings.batches):
        memory = _memory(subject, batch, settings.threads)
        if isinstance(memory, Skip):
            skipped.append(memory)
        else:
            measurements.append(memory)
        told("memory", index + 1, len(settings.batches), "")
    measurements += _clean(subject, engine, clean, settings.seed, told)
    robustness = None
    if settings.robust:
        robustness, left_out = _attack(subject, engine, test, settings=settings, threat=threat, progress=told)
        skipped += left_out
    else:
        skipped.append(Skip(what="robust accuracy", reason="not asked for"))
    return SubjectReport(
        name=subject.name,
        path=str(subject.path),
        measurements=tuple(measurements) + (robustness.measurements() if robustness else ()),
        skipped=tuple(skipped),
        notes=subject.notes,
        robustness=robustness,
    )


def _memory(subject: Subject, batch: int, threads: int | None) -> Measurement | Skip:
    what = f"peak memory, batch {batch}"
    try:
        measurement = measure_memory(subject.path, batch=batch, threads=threads).measurement()
    except ModelError as error:  # the engine runs in this process, so the run goes on without this figure
        return Skip(what=what, reason=str(error))
    return measurement or Skip(what=what, reason="this system does not tell")


def _clean(subject: Subject, engine: Engine, part: Part, seed: int, progress: ProgressCallback) -> list[Measurement]:
    right, agreements = 0, []
    for start in range(0, len(part), _BATCH):
        images, labels = part.images[start : start + _BATCH], part.labels[start : start + _BATCH]
        logits = engine(images)
        right += int(right_answers(logits, labels).sum())
        if subject.twin is not None:
            agreements.append(compare(logits, twin_logits(subject.twin, images)))
        progress("clean accuracy", start + len(images), len(part), f"{right} right")
    found = [share("clean-accuracy", right, len(part), seed=seed)]
    if subject.twin is not None:
        found.append(Agreement.total(agreements).measurement("clean"))
    return found


def _attack(
    subject: Subject,
    engine: Engine,
    test: Part,
    *,
    settings: BenchSettings,
    threat: ThreatModel,
    progress: ProgressCallback,
) -> tuple[RobustnessResult | None, list[Skip]]:
    part = _chosen(test, settings.images, settings.seed)
    plans = attack_plans(settings.preset, threat)
    usable = [plan for plan in plans if plan.target == "engine" or subject.twin is not None]
    skipped = [Skip(what=plan.name, reason=subject.no_twin) for plan in plans if plan not in usable]
    if not usable:
        reason = f"every attack of {settings.preset!r} searches on the twin; quick and default also ask the engine"
        return None, [*skipped, Skip(what="robust accuracy", reason=reason)]
    result = evaluate_robustness(
        engine,
        subject.twin,
        part.images,
        part.labels,
        threat=threat,
        attacks=usable,
        seed=settings.seed,
        sequential=settings.sequential,
        batch_size=_BATCH,
        progress=progress,
    )
    return result, skipped
