"""What one network of a study withstands: an ONNX file, float or integer, attacked on its twin, asked as an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...bench.attacks.presets import choose_attacks
from ...bench.attacks.threat.threat_model import ThreatModel
from ...bench.data.dataset import Dataset
from ...bench.measurement import share
from ...bench.robustness.case import Case
from ...bench.robustness.evaluate import evaluate_robustness
from ...bench.subjects import open_subjects, read_target

__all__ = ["Measure", "measure_file"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """Something to attack with.

    Attributes:
        attack: names of attacks or presets, separated by commas; the union counts.
        images: test images, at most.
        radius: of its ball, in radii of the training's.
        settings: instead of the attacks' own.
    """

    attack: str
    images: int
    radius: float = 1.0
    settings: Mapping[str, int | float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called in rows and files, such as "pgd-20" or "pgd-20 x0.5"."""
        changed = "".join(f" {key} {value:g}" for key, value in self.settings.items())
        return self.attack + ("" if self.radius == 1 else f" x{self.radius:g}") + changed


def measure_file(path: Path, data: Dataset, threat: ThreatModel, measure: Measure) -> dict[str, Any]:
    """Clean accuracy on all test images, and what an attack leaves of some of them.

    Args:
        path: an ONNX file or a bundle.
        threat: the ball of training.
        measure: what to attack with; the test images are the same ones for every network.

    Returns:
        JSON values: `clean` and `robust` as measurements, what broke the twin alone, attacks that were left out (there
        is no other network for `transfer`), the graph's size.
    """
    (subject,) = open_subjects(read_target(path), dense=False)
    threat = replace(threat, epsilon=threat.epsilon * measure.radius)
    whole, part = data.test, data.test.at_most(measure.images, seed=0)
    right = int((subject.engine.predict(whole.images) == whole.labels).sum())
    case = Case(engine=subject.engine, twin=subject.searched, images=part.images, labels=part.labels, threat=threat)
    chosen = choose_attacks(measure.attack, threat, classes=len(data.classes))
    plans = [plan.with_settings(**measure.settings) for plan in chosen.plans]
    result = evaluate_robustness(case, plans, sequential=True)
    told = {"attack": measure.attack, "threat": str(threat), **measure.settings}
    robust = share("robust-accuracy", int(result.robust.sum()), result.n, **told)
    return {
        "clean": share("clean-accuracy", right, len(whole)).to_dict(),
        "robust": robust.to_dict(),
        "broken on the twin only": sum(outcome.broken_twin_only or 0 for outcome in result.attacks),
        "skipped": [skip.what for skip in chosen.skipped],
        "KiB": sum(map(len, subject.graph.stored)) / 1024,
    }
