"""What every part of an evaluation shares, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hardtemper.bench.attacks.catalogue import AttackPlan
from hardtemper.bench.attacks.result import AttackResult
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.robustness.case import Case, forget
from hardtemper.runtime.errors import DataError, RecipeError

THREAT = ThreatModel("linf", 4 / 255)
IMAGES = np.arange(40, dtype=np.uint8).reshape(10, 1, 2, 2)


def engine(pixels: Any) -> Any:
    """Says 1 where the first pixel is odd."""
    odd = pixels[:, 0, 0, 0] % 2 == 1
    return np.stack([~odd, odd], 1).astype(np.float32)


def case(**changes: Any) -> Case:
    given: dict[str, Any] = {"images": IMAGES, "labels": np.zeros(10, np.int64), "threat": THREAT, "twin": engine}
    return Case(engine=engine, **{**given, **changes})


def raised(model: Any, images: Any, labels: Any, *, threat: Any, seed: int, by: int = 1) -> AttackResult:
    return AttackResult(name="raised", settings={}, adversarial=images + by, seconds=0.0, evaluations=seed)


PLAN = AttackPlan(name="raised", target="twin", search=raised, settings={"by": 1})


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"seed": -1}, RecipeError),
        ({"batch_size": 0}, RecipeError),
        ({"images": IMAGES[:0], "labels": np.zeros(0, np.int64)}, DataError),
        ({"images": IMAGES.astype(np.float32)}, DataError),
        ({"images": IMAGES[0]}, DataError),
        ({"labels": np.zeros(2, np.int64)}, DataError),
        ({"labels": np.zeros(10, np.float32)}, DataError),
        ({"labels": np.full(10, -1)}, DataError),
    ],
)
def test_refuses(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"expected: .*got: "):
        case(**changes)


def test_a_figure_that_needs_a_twin_says_so() -> None:
    with pytest.raises(RecipeError, match="no twin to search on"):
        case(twin=None).withstands(PLAN, np.arange(2))


def test_the_engine_is_asked_a_batch_at_a_time() -> None:
    asked: list[int] = []

    def counted(pixels: Any) -> Any:
        asked.append(len(pixels))
        return engine(pixels)

    images = IMAGES.copy()
    images[::3] += 1
    given = Case(engine=counted, twin=None, images=images, labels=np.zeros(10, np.int64), threat=THREAT, batch_size=4)
    assert given.right().tolist() == [index % 3 != 0 for index in range(10)]
    assert asked == [4, 4, 2]
    assert [(start, rows.tolist()) for start, rows in given.batches(np.arange(1, 10, 2))] == [
        (0, [1, 3, 5, 7]),
        (4, [9]),
    ]


def test_every_part_has_a_stream_of_its_own() -> None:
    streams = [case(seed=seed).stream(*numbers) for seed in (0, 1) for numbers in ((0,), (1,), (0, 1))]
    assert len(set(streams)) == 6
    assert streams[1] == np.random.SeedSequence([0, 1]).generate_state(1)[0]


def test_an_attacks_candidates_are_asked_of_the_engine_and_told() -> None:
    told: list[tuple[str, list[int], int]] = []

    def keep(plan: AttackPlan, rows: Any, candidates: Any, logits: Any) -> None:
        assert np.array_equal(engine(candidates), logits)
        assert np.array_equal(candidates, IMAGES[rows] + 1)
        told.append((plan.name, rows.tolist(), len(candidates)))

    given = case(keep=keep)
    assert given.withstands(PLAN, np.array([1, 5])).tolist() == [False, False]
    assert given.withstands(PLAN.with_settings(by=2), np.zeros(0, np.int64)).tolist() == []
    some = given.subset(np.array([7, 3, 8]))
    assert (some.n, given.n) == (3, 10)
    some.withstands(PLAN, np.array([2, 1]))
    assert told == [("raised", [1, 5], 2), ("raised", [8, 3], 2)], "under the numbers of the whole case"
    assert case(threat=ThreatModel("linf", 4 / 255, 0)).withstands(PLAN, np.array([1])).tolist() == [True]
    target = ThreatModel("linf", 4 / 255, 1)
    assert case().withstands(PLAN, np.array([1]), threat=target).tolist() == [False]
    forget(PLAN, np.arange(1), IMAGES[:1], engine(IMAGES[:1]))
