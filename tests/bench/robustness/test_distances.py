"""Robustness as a length: minimal perturbations beside CLEVER scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from hardtemper.bench.attacks.catalogue import AttackPlan
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.robustness.case import Case
from hardtemper.bench.robustness.distances import measure_distances
from hardtemper.export.twin.twin import Twin


@pytest.fixture
def case(data: Any, three_classes: Any) -> Case:
    part = data.test.subset(12, seed=0)
    twin = Twin(onnx.load_from_string(three_classes.onnx()))
    threat = ThreatModel("linf", 10 / 255)
    return Case(engine=three_classes, twin=twin, images=part.images, labels=part.labels, threat=threat)


def test_lengths_are_those_of_replayed_images(case: Case, three_classes: Any) -> None:
    kept: list[tuple[AttackPlan, Any, Any]] = []

    def keep(plan: AttackPlan, rows: Any, candidates: Any, logits: Any) -> None:
        assert np.array_equal(three_classes(candidates), logits)
        kept.append((plan, rows, candidates))

    how = {name: getattr(case, name) for name in ("engine", "twin", "images", "labels", "threat")}
    found, levels = measure_distances(Case(**how, keep=keep))
    ((plan, rows, candidates),) = kept
    assert (plan.name, rows.tolist()) == ("minimal perturbation", list(range(12)))
    moves = np.abs(candidates.astype(int) - case.images).max((1, 2, 3))
    right = case.right()
    assert levels == tuple(np.where(right, moves, 0))
    by_name = {m.name: m for m in found}
    assert by_name["minimal-perturbation-p50"].value == pytest.approx(np.quantile(levels, 0.5, method="inverted_cdf"))
    assert by_name["clever"].n == right.sum()
    assert by_name["clever"].spread is not None
    radii = [m.settings["epsilon"] for m in found if m.name == "robust-accuracy-by-distance"]
    assert radii == pytest.approx([factor * 10 / 255 for factor in (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)])


def test_where_nothing_is_right_there_is_no_score(case: Case) -> None:
    wrong = (case.labels + 1 + (case.engine(case.images).argmax(1) != case.labels)) % 3
    wrong = np.where(case.engine(case.images).argmax(1) == wrong, (wrong + 1) % 3, wrong)
    lost = Case(engine=case.engine, twin=case.twin, images=case.images, labels=wrong, threat=case.threat)
    found, levels = measure_distances(lost)
    assert levels == (0.0,) * 12
    assert "clever" not in {m.name for m in found}
