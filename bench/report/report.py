"""What a bench run hands back: numbers with their settings, the machine, and what was left out and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...runtime.errors import GateError, InputError
from ..measurement import Environment, Measurement, Setting, Skip
from ..robustness.verdict import RobustnessResult

__all__ = ["FORMAT_VERSION", "BenchReport", "SubjectReport"]

FORMAT_VERSION = 1
"""Of the JSON form, the only one that is written and read."""

_TOLD = 4
"""Doubts that an error names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SubjectReport:
    """What was measured of one engine.

    Attributes:
        name: "dense", "shipped" or "model", with a backend's name behind it where that is not ONNX Runtime
            (`subjects.py`).
        backend: what ran it; "onnxruntime" in reports that were written before it was stored.
        path: the bundle's folder or the ONNX file.
        graph_sha256: of the graph with its weights; "" in reports that were written before it was stored.
        measurements: names, labels and units are in `measure_table.py`.
        skipped: what is missing from these.
        notes: what a reader of the numbers must know.
        perturbations: where curves were asked for, one pair for each of their images: its place in the test part, and
            the length of the smallest perturbation that was found to break it, in levels and the threat model's norm (0
            where the image is wrong as it is, None where none was found).
        robustness: the verdict with its adversarial images; not part of the JSON form, nor of equality.
    """

    name: str
    path: str
    measurements: tuple[Measurement, ...]
    skipped: tuple[Skip, ...]
    notes: tuple[str, ...]
    backend: str = "onnxruntime"
    graph_sha256: str = ""
    perturbations: tuple[tuple[int, float | None], ...] = ()
    robustness: RobustnessResult | None = field(default=None, compare=False, repr=False)

    @property
    def network(self) -> str:
        """The name without the backend's."""
        return self.name.removesuffix(f"-{self.backend}")

    @property
    def alarms(self) -> tuple[str, ...]:
        """The names of the alarms that are raised."""
        return tuple(str(m.settings["alarm"]) for m in self.measurements if m.name == "alarm" and m.settings["raised"])

    def find(self, name: str, **settings: Setting) -> Measurement | None:
        """The first measurement of that name with these settings, among others."""
        for measurement in self.measurements:
            if measurement.name == name and settings.items() <= dict(measurement.settings).items():
                return measurement
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchReport:
    """One bench run.

    Attributes:
        target: what was measured.
        dataset: the data set's name.
        source: where it came from.
        created: when the run began, ISO 8601 in UTC.
        seconds: how long it took.
        settings: as given, defaults filled in.
        environment: machine and versions.
        subjects: the dense network first where there is one.
        bundle_sha256: the bundle's digest, of the one that these numbers were stored in where they were; "" for an
            ONNX file.
        notes: what the data set's loader left out or read in another way than plainly.
    """

    target: str
    dataset: str
    source: str
    created: str
    seconds: float
    settings: Mapping[str, Any]
    environment: Environment
    subjects: tuple[SubjectReport, ...]
    bundle_sha256: str = ""
    notes: tuple[str, ...] = ()

    def subject(self, name: str) -> SubjectReport:
        """By name; a KeyError where there is none."""
        return {subject.name: subject for subject in self.subjects}[name]

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why a figure of this run is not to be trusted, one line each; empty where all are.

        Every raised alarm, every figure that is withheld, and each robust accuracy that was asked for and is missing.
        """
        found = []
        for subject in self.subjects:
            names = {m.name for m in subject.measurements}
            found += [f"{subject.name}: alarm {name}" for name in subject.alarms]
            if "robust-accuracy-withheld" in names:
                found.append(f"{subject.name}: robust accuracy withheld")
            if self.settings["robust"] and names.isdisjoint({"robust-accuracy", "robust-accuracy-withheld"}):
                found.append(f"{subject.name}: no robust accuracy")
        return tuple(found)

    def gate(self) -> None:
        """Refuse a run with a figure that is not to be trusted.

        Raises:
            GateError: there are `doubts`.
        """
        doubts = self.doubts
        if doubts:
            raise GateError(
                f"{self.target}: figures that are not to be trusted",
                expected="no alarm, and nothing withheld",
                got=", ".join(doubts[:_TOLD]) + (f" and {len(doubts) - _TOLD} more" if len(doubts) > _TOLD else ""),
                fix="docs/alarms says what each alarm means",
            )

    def to_json(self) -> str:
        """As JSON, keys sorted, two spaces of indent; `from_json` gives it back, save for `robustness`."""
        value = {
            "format_version": FORMAT_VERSION,
            "target": self.target,
            "bundle_sha256": self.bundle_sha256,
            "dataset": self.dataset,
            "source": self.source,
            "notes": list(self.notes),
            "created": self.created,
            "seconds": self.seconds,
            "settings": dict(self.settings),
            "environment": self.environment.to_dict(),
            "subjects": [
                {
                    "name": subject.name,
                    "backend": subject.backend,
                    "path": subject.path,
                    "graph_sha256": subject.graph_sha256,
                    "measurements": [measurement.to_dict() for measurement in subject.measurements],
                    "skipped": [{"what": skip.what, "reason": skip.reason} for skip in subject.skipped],
                    "notes": list(subject.notes),
                    "perturbations": [list(pair) for pair in subject.perturbations],
                }
                for subject in self.subjects
            ],
        }
        return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, source: str) -> BenchReport:
        """Read what `to_json` wrote.

        Raises:
            InputError: no JSON, or of another format.
        """
        try:
            value = json.loads(source)
            version = value.pop("format_version")
            if version != FORMAT_VERSION:
                raise ValueError(f"format_version {version}")
            subjects = tuple(
                SubjectReport(
                    name=subject["name"],
                    path=subject["path"],
                    backend=subject.get("backend", "onnxruntime"),
                    graph_sha256=subject.get("graph_sha256", ""),
                    measurements=tuple(Measurement.from_dict(row) for row in subject["measurements"]),
                    skipped=tuple(Skip(**row) for row in subject["skipped"]),
                    notes=tuple(subject["notes"]),
                    perturbations=tuple((index, levels) for index, levels in subject.get("perturbations", ())),
                )
                for subject in value.pop("subjects")
            )
            notes = tuple(value.pop("notes", ()))
            return cls(
                **value | {"environment": Environment(**value["environment"]), "subjects": subjects, "notes": notes}
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                "not a bench report",
                expected=f"JSON that bench wrote, format_version {FORMAT_VERSION}",
                got=f"{type(error).__name__}: {error}",
            ) from None
