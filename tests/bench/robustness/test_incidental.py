"""Whatever breaks the engine inside the ball counts, whoever found it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hardtemper.bench.attacks.catalogue import AttackPlan, on_twin
from hardtemper.bench.attacks.result import AttackResult
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.attacks.white_box.apgd import apgd
from hardtemper.bench.data.dataset import Dataset
from hardtemper.bench.report.report import SubjectReport
from hardtemper.bench.resume import ResumeStore
from hardtemper.bench.robustness.archive import read_archive
from hardtemper.bench.robustness.case import Case
from hardtemper.bench.robustness.evaluate import evaluate_robustness
from hardtemper.bench.robustness.incidental import RunningVerdict
from hardtemper.bench.robustness.replay_verdict import replay
from hardtemper.bench.run import run_bench
from hardtemper.bench.settings import BenchSettings

PLAN = on_twin("alarm more steps", apgd, steps=50)


def engine(pixels: Any) -> Any:
    """Says 1 where the first pixel is above 100, else 0."""
    first = pixels[:, 0, 0, 0] > 100
    return np.stack([~first, first], axis=1).astype(np.float32)


def twin(x: Any) -> Any:
    import torch

    first = (x[:, 0, 0, 0] * 255).round() > 100
    return torch.stack([~first, first], dim=1).float()


def lazy(model: Any, images: Any, labels: Any, *, threat: Any, seed: int) -> AttackResult:
    """Breaks the first image it sees."""
    adversarial = images.copy()
    adversarial[:1, 0, 0, 0] -= 1
    return AttackResult(name="lazy", settings={}, adversarial=adversarial, seconds=0.5, evaluations=1)


@pytest.fixture
def verdict() -> RunningVerdict:
    images = np.full((6, 1, 2, 2), 101, np.uint8)
    labels = np.array([1, 1, 1, 1, 1, 0])
    plans = [AttackPlan(name="lazy", target="twin", search=lazy, settings={})]
    case = Case(engine=engine, twin=twin, images=images, labels=labels, threat=ThreatModel("linf", 4 / 255))
    result = evaluate_robustness(case, plans)
    assert result.robust.tolist() == [False, True, True, True, True, False]
    return RunningVerdict(result, case)


def test_only_what_is_in_the_ball_breaks_the_engine_and_is_new_joins(verdict: RunningVerdict) -> None:
    rows = np.array([4, 0, 2, 1, 5])
    candidates = verdict.case.images[rows]
    candidates[:, 0, 0, 0] -= np.array([4, 4, 5, 0, 3], np.uint8)  # 2 is outside, 1 unbroken, 0 and 5 known
    verdict.keep(PLAN, rows, candidates, engine(candidates))
    result = verdict.result
    assert result.robust.tolist() == [False, True, True, True, False, False]
    found = result.attacks[-1]
    assert (found.plan, found.attacked, found.broken, found.robust) == (PLAN, 2, 1, 3)
    assert found.remaining_only
    assert found.candidates.rows.tolist() == [4]
    assert result.moved == 0
    assert result.adversarial[4, 0, 0, 0] == 97
    assert result.adversarial[0, 0, 0, 0] == 100, "the first one that broke it"
    assert [m.value for m in result.measurements() if m.settings.get("attack") == "union"] == [50.0]
    verdict.keep(PLAN, rows, candidates, engine(candidates))
    assert verdict.result is result, "nothing new"


def test_a_candidate_that_breaks_one_of_twin_and_engine_only_is_counted(verdict: RunningVerdict) -> None:
    stubborn = RunningVerdict(verdict.result, replace(verdict.case, twin=lambda x: twin(x + 1)))
    candidates = verdict.case.images[[3]] - np.uint8(1)
    stubborn.keep(PLAN, np.array([3]), candidates, engine(candidates))
    found = stubborn.result.attacks[-1]
    assert (found.broken, found.broken_engine_only, found.broken_twin_only) == (1, 1, 0)
    assert stubborn.result.moved == 1


def test_a_targeted_candidate_must_reach_the_target(verdict: RunningVerdict) -> None:
    aimed = ThreatModel("linf", 4 / 255, 2)
    case = replace(verdict.case, threat=aimed)
    result = evaluate_robustness(case, [AttackPlan(name="lazy", target="twin", search=lazy, settings={})])
    aimed_at = RunningVerdict(result, case)
    candidates = verdict.case.images - np.uint8(1)
    aimed_at.keep(PLAN, np.arange(6), candidates, engine(candidates))
    assert aimed_at.result is result


def bench(path: Path, data: Dataset, work: Path, store: ResumeStore | None = None, **changes: Any) -> SubjectReport:
    how: dict[str, Any] = {"batches": (1,), "warmup": 0, "repeats": 1, "min_seconds": 0, "preset": "fgsm", **changes}
    settings = BenchSettings(threat=ThreatModel("l2", 0.15), **how)
    (subject,) = run_bench(path, data, settings, work=work, store=store).subjects
    return subject


@pytest.mark.parametrize("sequential", [False, True])
def test_the_union_is_no_higher_than_what_the_run_proved(
    tmp_path: Path, data: Dataset, three_classes: Any, sequential: bool, value: Callable[..., float]
) -> None:
    """FGSM in l2 leaves what APGD, PGD and FAB break; each of them is an image in the ball."""
    path = tmp_path / "model.onnx"
    path.write_bytes(three_classes.onnx())
    subject = bench(path, data, tmp_path / "work", curves=True, sequential=sequential)
    result = subject.robustness
    assert result is not None
    first, *found = result.attacks
    assert found, "the attack is weak"
    union = value(subject, "robust-accuracy", attack="union")
    assert union == pytest.approx(100 * result.robust.mean())
    assert union < value(subject, "robust-accuracy", attack="fgsm")
    assert union <= value(subject, "robust-accuracy-by-epsilon", epsilon=0.15)
    assert union <= value(subject, "robust-accuracy-by-steps", steps=100)
    assert union <= value(subject, "robust-accuracy-by-distance", epsilon=0.15)
    more = subject.find("alarm", alarm="more steps")
    assert more is not None
    before = first.robust
    assert result.robust.sum() <= before - round(more.value * more.n / 100)
    (stored,) = (tmp_path / "work").glob("*.npz")
    archive = read_archive(stored)
    again = replay(archive, three_classes, name="the same")
    assert (again.clean, again.robust) == (result.clean, result.robust.sum())
    assert [attack.name for attack in again.attacks] == [outcome.plan.name for outcome in result.attacks]
    assert [(attack.stored, attack.broken) for attack in again.attacks[1:]] == [(o.broken, o.broken) for o in found]


def test_a_run_that_goes_on_finds_the_same(tmp_path: Path, data: Dataset, three_classes: Any) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(three_classes.onnx())
    one, other = (bench(path, data, tmp_path / "work", ResumeStore(tmp_path / "store")).robustness for _ in range(2))
    assert one is not None
    assert other is not None
    assert [(o.plan.name, o.broken) for o in one.attacks] == [(o.plan.name, o.broken) for o in other.attacks]
    assert "alarm more steps" in [outcome.plan.name for outcome in one.attacks]
    assert np.array_equal(one.adversarial, other.adversarial)
