"""One bench run: everything about a bundle or an ONNX file that this machine can measure, in one report.

A bundle's engine is measured beside the dense float network it came from, in the same run on the same images, each on
every backend that is asked for. Candidates that were found on a twin are asked of each engine of it. What is not
measured is listed with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ..runtime.backends.installed import installed_version
from ..runtime.bundle.reader import Bundle
from ..runtime.files.onnx_file import OnnxFile
from ..runtime.progress import ProgressCallback, silent
from .attacks.presets import wants_parent
from .attacks.threat.threat_model import ThreatModel
from .compatibility import check_data
from .data.dataset import Dataset, Part
from .diagnosis.diagnose import diagnose
from .measurement import Environment, Measurement, Skip
from .performance.footprint import measure_peak_memory, measure_weights
from .performance.latency import measure_latency
from .report.report import BenchReport, SubjectReport
from .resume import ResumeStore
from .robustness.assess import Assessment, assess
from .robustness.case import Case
from .robustness.clean_accuracy import measure_clean_accuracy
from .robustness.corruptions import evaluate_corruptions
from .robustness.plan import AttackSchedule, choose_images, plan_attacks
from .robustness.verdict_file import store_verdict
from .settings import BenchSettings, default_threat
from .subjects import Subject, open_others, open_subjects, read_target

__all__ = ["run_bench"]


def run_bench(
    target: Path | OnnxFile | Bundle,
    dataset: Dataset,
    settings: BenchSettings | None = None,
    *,
    work: Path | None = None,
    store: ResumeStore | None = None,
    progress: ProgressCallback = silent,
) -> BenchReport:
    """Measure a bundle or an ONNX file.

    Args:
        target: a bundle's folder or an ONNX file with 8-bit pixels, or floats in [0, 1], as input; or either as
            `read_target` read it.
        dataset: its test part is used.
        settings: see `BenchSettings`.
        work: a folder for the verdicts with their adversarial images (`archive.py`); None keeps none.
        store: where finished parts are kept, from which an interrupted run goes on. They stay: whoever has stored the
            report removes them.
        progress: told about every batch; tasks are named "dense: pgd-20" and so on.

    Raises:
        BundleError, ModelError: the target cannot be opened.
        DataError: the data set does not fit the network, or no image is left to attack.
        RecipeError: no attack fits, or the target is no class.
        InputError: `work` or `store` cannot be written.
        MissingExtraError: a backend's package is not installed.
        IntegrityError: a file of a bundle is not the one that its manifest lists.
    """
    settings = settings or BenchSettings()
    start, created = time.perf_counter(), datetime.now(timezone.utc)
    threat = settings.threat or default_threat(dataset.input_shape)
    opened = read_target(target) if isinstance(target, Path) else target
    path = opened.path
    subjects = open_subjects(opened, dense=settings.dense, threads=(settings.threads,), backends=settings.backends)
    for subject in subjects:
        check_data(subject.engine, dataset, path)
    others: tuple[Subject, ...] = ()
    if settings.robust:
        paths = [Path(other) for other in settings.transfer]
        others = open_others(opened, parent=wants_parent(settings.preset), paths=paths, opened=subjects)
    for other in others:
        check_data(other.engine, dataset, other.path)
    schedules: Mapping[str, AttackSchedule] = {}
    part = dataset.test
    if settings.robust:
        part = choose_images(dataset, settings, threat)
        schedules = plan_attacks(
            subjects, classes=len(dataset.classes), settings=settings, threat=threat, others=others
        )
        if work is not None:
            ResumeStore(work).make()  # where the verdict will lie; now, not after an hour
    kept = store if settings.robust or settings.corruptions else None
    if kept is not None:
        kept.make()
    run = _Run(settings=settings, threat=threat, dataset=dataset, attacked=part, work=work, progress=progress)
    times = run.latencies(subjects)
    digests = {other.name: other.digest for other in others}
    reports = []
    for subject in subjects:
        engine = f"{subject.digest} on {subject.backend} {installed_version(subject.backend)}"
        mine = kept and kept.for_graphs({**digests, "twin": subject.digest, "engine": engine})
        reports.append(run.measure(subject, times[subject.name], schedules.get(subject.name), mine))
    return BenchReport(
        target=str(path),
        dataset=dataset.name,
        source=dataset.source,
        created=created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=time.perf_counter() - start,
        settings=settings.to_dict(threat),
        environment=Environment.here(*settings.backends),
        subjects=tuple(reports),
        bundle_sha256=opened.digest if isinstance(opened, Bundle) else "",
        notes=dataset.notes,
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Run:
    """What every subject of a run is measured with; `attacked` are the images to attack."""

    settings: BenchSettings
    threat: ThreatModel
    dataset: Dataset
    attacked: Part
    work: Path | None
    progress: ProgressCallback

    def latencies(self, subjects: tuple[Subject, ...]) -> Mapping[str, list[Measurement]]:
        """Of all subjects side by side, by name."""
        settings = self.settings
        engines = {subject.name: subject.engines[settings.threads] for subject in subjects}
        found: dict[str, list[Measurement]] = {name: [] for name in engines}
        for batch in settings.batches:
            latencies = measure_latency(
                engines,
                self._clean.images,
                batch=batch,
                warmup=settings.warmup,
                repeats=settings.repeats,
                min_seconds=settings.min_seconds,
                progress=self.progress,
            )
            for latency in latencies:
                measurements = latency.measurements(threads=settings.threads, beside=latencies[0].name)
                found[latency.name] += measurements if len(engines) > 1 else measurements[:2]
        return found

    def measure(
        self, subject: Subject, times: list[Measurement], schedule: AttackSchedule | None, store: ResumeStore | None
    ) -> SubjectReport:
        """Everything about one subject but its latency, `times`."""

        def progress(task: str, done: int, total: int, text: str) -> None:
            self.progress(f"{subject.name}: {task}", done, total, text)

        settings = self.settings
        clean = self._case(subject, self._clean, store, progress)
        measurements, skipped = [*measure_weights(subject.graph, subject.twin), *times], list[Skip]()
        for index, batch in enumerate(settings.batches):
            memory = measure_peak_memory(
                subject.path,
                digest=subject.whole_digest,
                batch=batch,
                threads=settings.threads,
                backend=subject.backend,
            )
            if isinstance(memory, Skip):
                skipped.append(memory)
            else:
                measurements.append(memory)
            progress("memory", index + 1, len(settings.batches), "")
        answers = measure_clean_accuracy(clean)
        diagnosis = diagnose(answers, subject.engine, self.dataset, seed=settings.seed, progress=progress)
        doubts = (diagnosis.alarm, answers.no_answer)
        raised = ", ".join(alarm.name for alarm in doubts if alarm.raised) or "none"
        measurements += answers.measurements(seed=settings.seed, alarms=raised)
        measurements += [alarm.measurement(seed=settings.seed) for alarm in doubts]
        if settings.corruptions:
            some = self.dataset.test.at_most(settings.images, seed=settings.seed)
            measurements += evaluate_corruptions(self._case(subject, some, store, progress)).measurements()
        assessment = Assessment(skipped=(Skip(what="robust accuracy", reason="--no-robust was given"),))
        if schedule is not None:
            case = self._case(subject, self.attacked, store, progress)
            assessment = assess(case, subject, self.attacked, schedule=schedule, settings=settings, clean=doubts)
        return SubjectReport(
            name=subject.name,
            backend=subject.backend,
            path=str(subject.path),
            graph_sha256=subject.digest,
            measurements=(*measurements, *assessment.measurements),
            skipped=(*skipped, *assessment.skipped),
            notes=(*subject.notes, *diagnosis.notes, *self._stored(subject, assessment, schedule)),
            perturbations=assessment.perturbations,
            robustness=assessment.result,
        )

    @property
    def _clean(self) -> Part:
        return self.dataset.test.at_most(self.settings.clean_images, seed=self.settings.seed)

    def _case(self, subject: Subject, part: Part, store: ResumeStore | None, progress: ProgressCallback) -> Case:
        return Case(
            engine=subject.engine,
            twin=subject.twin,
            images=part.images,
            labels=part.labels,
            threat=self.threat,
            seed=self.settings.seed,
            store=store,
            progress=progress,
        )

    def _stored(self, subject: Subject, assessment: Assessment, schedule: AttackSchedule | None) -> tuple[str, ...]:
        """Write the verdict where there is one and a folder for it, and say where it lies."""
        if self.work is None or assessment.result is None or schedule is None:
            return ()
        path = store_verdict(
            assessment.result,
            self.work,
            subject=subject,
            dataset=self.dataset,
            part=self.attacked,
            schedule=schedule,
            settings=self.settings,
            alarms=assessment.raised,
        )
        return (f"adversarial images, for `toolchain replay`: {path}",)
