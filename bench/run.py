"""One bench run: everything about a bundle or an ONNX file that this machine can measure, in one report.

A bundle's engine is measured beside the dense float network it came from, in the same run on the same images. What is
not measured is listed with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from ..runtime.engine import Engine
from ..runtime.errors import DataError, ModelError
from ..runtime.progress import ProgressCallback, silent
from .attacks.presets import wants_parent
from .attacks.threat.threat_model import ThreatModel
from .data.dataset import Dataset, Part
from .measurement import Environment, Measurement, Skip, share
from .performance.latency import measure_latency
from .performance.memory import measure_memory
from .performance.size import measure_size
from .report.report import BenchReport, SubjectReport
from .resume import Pieces
from .robustness.agreement import Agreement, compare, twin_logits
from .robustness.assess import attack_subject
from .robustness.corruptions import evaluate_corruptions
from .robustness.criteria import right_answers
from .robustness.plan import Planned, choose_images, plan_attacks
from .settings import BenchSettings, default_threat
from .subjects import Subject, open_others, open_subjects

__all__ = ["run_bench"]

_BATCH = 256


def run_bench(
    target: Path,
    dataset: Dataset,
    settings: BenchSettings | None = None,
    *,
    work: Path | None = None,
    pieces: Pieces | None = None,
    progress: ProgressCallback = silent,
) -> BenchReport:
    """Measure a bundle or an ONNX file.

    Args:
        target: a bundle's folder or an ONNX file with 8-bit pixels, or floats in [0, 1], as input.
        dataset: its test part is used.
        settings: see `BenchSettings`.
        work: a folder for the verdicts with their adversarial images (`archive.py`); None keeps none.
        pieces: where finished parts are kept, from which an interrupted run goes on. They stay: whoever has stored the
            report removes them.
        progress: told about every batch; tasks are named "dense: pgd-20" and so on.

    Raises:
        BundleError, ModelError: the target cannot be opened.
        DataError: the data set does not fit the network, or no image is left to attack.
        RecipeError: no attack fits, or the target is no class.
        InputError: `work` or `pieces` cannot be written.
        IntegrityError: the target was replaced meanwhile.
    """
    settings = settings or BenchSettings()
    start, created = time.perf_counter(), datetime.now(timezone.utc)
    threat = settings.threat or default_threat(dataset.input_shape)
    subjects = open_subjects(target, dense=settings.dense)
    for subject in subjects:
        _check_data(subject.open(settings.threads), dataset, target)
    others: tuple[Subject, ...] = ()
    if settings.robust:
        paths = [Path(path) for path in settings.transfer]
        others = open_others(target, parent=wants_parent(settings.preset), paths=paths, opened=subjects)
    for other in others:
        _check_data(other.open(settings.threads), dataset, other.path)
    planned: Mapping[str, Planned] = {}
    part = dataset.test
    if settings.robust:
        part = choose_images(dataset, settings, threat)
        planned = plan_attacks(subjects, classes=len(dataset.classes), settings=settings, threat=threat, others=others)
        if work is not None:
            Pieces(work).make()  # where the verdict will lie; now, not after an hour
    resumable = pieces if settings.robust or settings.corruptions else None
    if resumable is not None:
        resumable.make()
    clean = _chosen(dataset.test, settings.clean_images, settings.seed)
    times = _latencies(subjects, clean, settings, progress)
    reports = tuple(
        _measure(
            subject,
            times=times[subject.name],
            clean=clean,
            dataset=dataset,
            part=part,
            planned=planned.get(subject.name),
            settings=settings,
            threat=threat,
            others=others,
            work=work,
            pieces=resumable,
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
    # a bare file's labels are numbers that nobody chose
    named = engine.bundle is not None
    if named and engine.labels != dataset.classes and sorted(engine.labels) == sorted(dataset.classes):
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
    dataset: Dataset,
    part: Part,
    planned: Planned | None,
    settings: BenchSettings,
    threat: ThreatModel,
    others: tuple[Subject, ...],
    work: Path | None,
    pieces: Pieces | None,
    progress: ProgressCallback,
) -> SubjectReport:
    def told(task: str, done: int, total: int, text: str) -> None:
        progress(f"{subject.name}: {task}", done, total, text)

    engine = subject.open(None)
    if pieces is not None:
        digests = {other.name: other.digest for other in others}
        pieces = replace(pieces, digests={**digests, "twin": subject.digest, "engine": subject.digest})
    measurements = [*_weight(subject), *times]
    skipped = []
    for index, batch in enumerate(settings.batches):
        memory = _memory(subject, batch, settings.threads)
        if isinstance(memory, Skip):
            skipped.append(memory)
        else:
            measurements.append(memory)
        told("memory", index + 1, len(settings.batches), "")
    measurements += _clean(subject, engine, clean, settings.seed, told)
    if settings.corruptions:
        some = _chosen(dataset.test, settings.images, settings.seed)
        measurements += evaluate_corruptions(
            engine, some.images, some.labels, seed=settings.seed, pieces=pieces, progress=told
        ).measurements()
    if planned is None:
        skipped.append(Skip(what="robust accuracy", reason="not asked for"))
        attacked = None
    else:
        attacked = attack_subject(
            subject,
            engine,
            dataset,
            part,
            planned=planned,
            settings=settings,
            threat=threat,
            work=work,
            pieces=pieces,
            progress=told,
        )
        measurements += attacked.measurements
        skipped += attacked.skipped
    subject.check()
    return SubjectReport(
        name=subject.name,
        path=str(subject.path),
        graph_sha256=subject.digest,
        measurements=tuple(measurements),
        skipped=tuple(skipped),
        notes=subject.notes + (attacked.notes if attacked else ()),
        perturbations=attacked.perturbations if attacked else (),
        robustness=attacked.result if attacked else None,
    )


def _weight(subject: Subject) -> list[Measurement]:
    found = [*measure_size(subject.graph)]
    if subject.twin is not None:
        weights = sum(parameter.numel() for parameter in subject.twin.parameters())
        found.append(Measurement(name="parameters", value=weights, unit="numbers", n=1))
    return found


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
