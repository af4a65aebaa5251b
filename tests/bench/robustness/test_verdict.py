"""What a verdict counts; how it comes about is in test_evaluate.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hardtemper.bench.attacks.catalogue import AttackPlan
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.data.dataset import Part
from hardtemper.bench.robustness.agreement import Agreement
from hardtemper.bench.robustness.verdict import AttackOutcome, Candidates, RobustnessResult

IMAGES = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1) + np.uint8(100)
LABELS = np.array([0, 0, 0, 1, 1, 1])


def outcome(name: str, target: str, engine: list[int], twin: list[int] | None) -> AttackOutcome:
    """An attack that broke these images' engine and twin by a level each."""
    rows = np.array(sorted({*engine, *(twin or [])}), np.int64)
    candidates = Candidates(
        rows=rows,
        images=IMAGES[rows] + np.uint8(1),
        on_engine=np.isin(rows, engine),
        on_twin=None if twin is None else np.isin(rows, twin),
    )
    return AttackOutcome(
        plan=AttackPlan(name=name, target=target, search=lambda *_: None, settings={"steps": 3}),  # type: ignore[arg-type, return-value]
        n=6,
        attacked=5,
        broken=len(engine),
        robust=5 - len(engine),
        remaining_only=False,
        agreement=None if twin is None else Agreement(n=5, logits=1, classes=0, largest=0.5),
        candidates=candidates,
        seconds=1.0,
        evaluations=10,
    )


def verdict(*outcomes: AttackOutcome) -> RobustnessResult:
    broken = {row for o in outcomes for row in o.candidates.rows[o.candidates.on_engine].tolist()}
    robust = np.array([index not in {5, *broken} for index in range(6)])
    return RobustnessResult(
        threat=ThreatModel("linf", 2 / 255),
        seed=3,
        batch_size=4,
        right=np.arange(6) != 5,
        attacks=outcomes,
        robust=robust,
        adversarial=IMAGES.copy(),
    )


def test_what_breaks_one_of_engine_and_twin_only() -> None:
    found = outcome("a", "twin", [0, 1], [1, 2, 3])
    assert (found.broken_engine_only, found.broken_twin_only) == (1, 2)
    without = outcome("a", "engine", [0], None)
    assert (without.broken_engine_only, without.broken_twin_only) == (None, None)


@pytest.mark.parametrize(
    ("outcomes", "queries", "transfer"),
    [
        ([outcome("a", "twin", [0], [0]), outcome("q", "engine", [0, 1], [0]), outcome("t", "parent", [2], [2])], 1, 1),
        ([outcome("a", "twin", [0], [0])], None, None),
        ([outcome("q", "engine", [1], [1]), outcome("t", "parent", [2], [2])], None, None),
    ],
)
def test_what_gradients_missed(outcomes: list[Any], queries: int | None, transfer: int | None) -> None:
    result = verdict(*outcomes)
    assert (result.queries_only, result.transfer_only) == (queries, transfer)
    names = {m.name for m in result.measurements()}
    assert ("broken-by-queries-only" in names) == (queries is not None)
    assert ("broken-by-transfer-only" in names) == (transfer is not None)


def test_images_whose_verdict_differs_on_the_twin() -> None:
    one, other = outcome("a", "twin", [0, 1], [1, 2]), outcome("b", "twin", [2], [0])
    assert verdict(one).moved == 2
    assert verdict(one, other).moved == 0, "over all candidates"
    assert verdict(one, outcome("q", "engine", [3], None)).moved is None


def test_one_more_attack_joins() -> None:
    result = verdict(outcome("a", "twin", [0], [0]))
    after = result.then(outcome("b", "twin", [1], [1, 2]))
    assert (result.robust.sum(), after.robust.sum()) == (4, 3)
    assert after.adversarial[:, 0, 0, 0].tolist() == [100, 102, 102, 103, 104, 105], "of those that broke the engine"
    assert [o.plan.name for o in after.attacks] == ["a", "b"]


def test_measurements_name_the_attack_and_the_union() -> None:
    result = verdict(outcome("a", "twin", [0], [0, 1]), outcome("b", "twin", [2], [2]))
    first, second, union, mismatch, moved = result.measurements(["flat loss"])
    assert [m.settings["attack"] for m in (first, second, union)] == ["a", "b", "union"]
    assert (union.value, union.n) == (50.0, 6)
    assert union.settings.items() >= {"of": "a + b", "clean": 5, "alarms": "flat loss", "seconds": 2.0}.items()
    assert first.settings.items() >= {"steps": 3, "broken_twin_only": 1, "threat": "linf:2/255", "seed": 3}.items()
    assert (mismatch.name, mismatch.value, mismatch.n) == ("twin-mismatch", 2, 10)
    assert (moved.name, moved.value) == ("verdict-moved", 1)


def test_the_archive_holds_every_candidate() -> None:
    result = verdict(outcome("a", "twin", [0], [0, 1]), outcome("q", "engine", [2], None))
    part = Part(name="toy", split="test", images=IMAGES, labels=LABELS, indices=np.arange(6) + 50)
    archive = result.archive(part, classes=2)
    assert archive.rows.tolist() == [0, 1, 2]
    assert archive.attacks.tolist() == [0, 0, 1]
    assert archive.on_engine.tolist() == [True, False, True]
    assert archive.on_twin.tolist() == [True, True, False]
    assert (archive.header["clean"], archive.header["robust"]) == (5, 3)
