"""What one network of a study withstands: an ONNX file, float or integer, attacked on its twin, asked as an engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...bench.attacks.presets import choose_attacks
from ...bench.attacks.threat.threat_model import ThreatModel
from ...bench.data.dataset import Dataset
from ...bench.measurement import Setting, share
from ...bench.robustness.case import Case
from ...bench.robustness.evaluate import evaluate_robustness
from ...bench.subjects import open_subjects, read_target

__all__ = ["measure_file"]


def measure_file(
    path: Path,
    data: Dataset,
    threat: ThreatModel,
    *,
    attack: str,
    images: int,
    settings: Mapping[str, Setting] = MappingProxyType({}),
) -> dict[str, Any]:
    """Clean accuracy on all test images, and what an attack leaves of some of them.

    Args:
        path: an ONNX file or a bundle.
        attack: names of attacks or presets, separated by commas; the union counts.
        images: test images to attack, at most; the same ones for every network.
        settings: of every attack, instead of its own.

    Returns:
        JSON values: `clean` and `robust` as measurements, what broke the twin alone, attacks that were left out (there
        is no other network for `transfer`), the graph's size.
    """
    (subject,) = open_subjects(read_target(path), dense=False)
    whole, part = data.test, data.test.at_most(images, seed=0)
    right = int((subject.engine.predict(whole.images) == whole.labels).sum())
    case = Case(engine=subject.engine, twin=subject.searched, images=part.images, labels=part.labels, threat=threat)
    chosen = choose_attacks(attack, threat, classes=len(data.classes))
    plans = [plan.with_settings(**settings) for plan in chosen.plans]
    result = evaluate_robustness(case, plans, sequential=True)
    robust = share("robust-accuracy", int(result.robust.sum()), result.n, attack=attack, threat=str(threat), **settings)
    return {
        "clean": share("clean-accuracy", right, len(whole)).to_dict(),
        "robust": robust.to_dict(),
        "broken on the twin only": sum(outcome.broken_twin_only or 0 for outcome in result.attacks),
        "skipped": [skip.what for skip in chosen.skipped],
        "KiB": sum(map(len, subject.graph.stored)) / 1024,
    }
