"""Curves over the radius and over the steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from hardtemper.bench.attacks.catalogue import AttackPlan
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.apgd import apgd
from hardtemper.bench.attacks.white_box.pgd import pgd
from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.robustness.case import Case
from hardtemper.bench.robustness.curves import measure_curves
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings
from hardtemper.export.twin.twin import Twin

THREAT = ThreatModel("linf", 10 / 255)


def test_curves(
    data: Dataset, three_classes: Any, settings: Callable[..., BenchSettings], model_file: Callable[[bytes], Path]
) -> None:
    path = model_file(three_classes.onnx())
    (subject,) = run_bench(path, data, settings(preset="paper", curves=True, images=20, batches=(1,))).subjects
    by_epsilon = [m for m in subject.measurements if m.name == "robust-accuracy-by-epsilon"]
    assert [round(255 * float(m.settings["epsilon"] or 0), 1) for m in by_epsilon] == [0, 2.5, 5, 7.5, 10, 15, 20, 128]
    values = [m.value for m in by_epsilon]
    assert values == sorted(values, reverse=True)
    part = data.test.subset(20, seed=0)
    assert values[0] == 100 * (three_classes(part.images).argmax(1) == part.labels).mean()
    assert values[-1] == 0
    by_steps = [m.value for m in subject.measurements if m.name == "robust-accuracy-by-steps"]
    assert len(by_steps) == 7
    assert by_steps[-1] <= by_steps[0]
    truth = three_classes.withstands(part.images, part.labels, 10).mean()
    assert by_steps[-1] == pytest.approx(100 * truth)
    assert values[4] == pytest.approx(100 * truth)
    beyond = subject.find("robust-accuracy-by-distance", epsilon=10 / 255)
    assert beyond is not None
    assert beyond.value == pytest.approx(100 * truth)
    score, found = subject.find("clever"), subject.find("minimal-perturbation-p50")
    assert score is not None
    assert found is not None
    assert score.value > 0
    assert 0 < found.value < 128
    indices, levels = zip(*subject.perturbations, strict=True)
    assert list(indices) == part.indices.tolist()
    assert np.quantile(levels, 0.5, method="inverted_cdf") == pytest.approx(found.value)
    assert beyond.value == pytest.approx(100 * (np.array(levels) > 10).mean())
    wrong = three_classes(part.images).argmax(1) != part.labels
    assert [level == 0 for level in levels] == wrong.tolist()


def test_curves_are_of_the_engine_and_what_they_ask_is_kept(data: Dataset, three_classes: Any) -> None:
    """An engine that is right whatever comes withstands what breaks its twin."""
    part = data.test.subset(5, seed=0)
    answers = np.eye(3, dtype=np.float32)[part.labels]
    twin = Twin(onnx.load_from_string(three_classes.onnx()))
    kept: list[AttackPlan] = []

    def keep(plan: AttackPlan, rows: Any, candidates: Any, logits: Any) -> None:
        assert rows.tolist() == list(range(5))
        assert candidates.shape == part.images.shape
        assert logits is answers
        kept.append(plan)

    points = measure_curves(
        Case(engine=lambda _: answers, twin=twin, images=part.images, labels=part.labels, threat=THREAT, keep=keep)
    )
    assert {point.value for point in points} == {100}
    assert [point.settings["attack"] for point in points[1:]] == ["apgd-ce"] * 7 + ["pgd"] * 7
    assert [dict(plan.settings) for plan in kept[:7]] == [{"steps": 50}] * 7
    sizes = [2.5, 1.25, 0.5, 0.25, 0.125, 0.1, 0.1]
    assert [dict(plan.settings) for plan in kept[7:]] == [
        {
            "steps": steps,
            "step_size": pytest.approx(size * THREAT.epsilon),
            "random_start": False,
            "early_stop": True,
        }
        for steps, size in zip((1, 2, 5, 10, 20, 50, 100), sizes, strict=True)
    ]
    assert {plan.search.args[1] for plan in kept[:7]} == {apgd}  # type: ignore[attr-defined]
    assert {plan.search.args[1] for plan in kept[7:]} == {pgd}  # type: ignore[attr-defined]
