from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from hardtemper.bench.attacks.catalogue import AttackPlan
from hardtemper.bench.attacks.presets import choose_attacks
from hardtemper.bench.attacks.result import AttackResult
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.bench.measurement import wilson
from hardtemper.bench.robustness.case import Case
from hardtemper.bench.robustness.evaluate import evaluate_robustness
from hardtemper.bench.robustness.verdict import RobustnessResult
from hardtemper.export.twin.twin import Twin
from hardtemper.runtime.errors import DataError, GateError, RecipeError

RADIUS = 10
THREAT = ThreatModel("linf", RADIUS / 255)


def images_for(model: Any, count: int = 60) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Noise with more or less of a class's pattern: some images withstand RADIUS. A tenth of the labels are wrong."""
    rng = np.random.default_rng(3)
    patterns = np.sign(model.weights - model.weights.mean(0)).reshape(-1, 1, 6, 6)
    chosen, strength = rng.integers(0, len(patterns), count), rng.uniform(0, 20, (count, 1, 1, 1))
    images = (128 + rng.normal(0, 8, (count, 1, 6, 6)) + strength * patterns[chosen]).round().astype(np.uint8)
    labels = model(images).argmax(1).astype(np.int64)
    return images, np.where(rng.random(count) < 0.1, (labels + 1) % len(model.weights), labels)


def twin_of(model: Any, **how: Any) -> Twin:
    return Twin(onnx.load_from_string(model.onnx(**how)))


def answers(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An engine that says 1 where the first pixel is above 100, else 0."""
    first = pixels[:, 0, 0, 0] > 100
    return np.stack([~first, first], axis=1).astype(np.float32)


def fake(name: str, target: Any, breaks: set[int], calls: list[list[int]] | None = None, by: int = 1) -> AttackPlan:
    """An attack that breaks the images whose last pixel (their number) is in `breaks`."""

    def search(model: Any, images: NDArray[np.uint8], labels: Any, *, threat: Any, seed: int) -> AttackResult:
        numbers = images[:, 0, -1, -1].tolist()
        if calls is not None:
            calls.append(numbers)
        adversarial = images.copy()
        adversarial[[number in breaks for number in numbers], 0, 0, 0] -= by
        return AttackResult(name=name, settings={}, adversarial=adversarial, seconds=0.5, evaluations=len(images))

    return AttackPlan(name=name, target=target, search=search, settings={})


def numbered(count: int) -> NDArray[np.uint8]:
    """Images with 101 in the first pixel and their number in the last one."""
    images = np.full((count, 1, 2, 2), 50, np.uint8)
    images[:, 0, 0, 0] = 101
    images[:, 0, 1, 1] = np.arange(count)
    return images


def twin_of_answers(x: Any) -> Any:
    import torch

    first = (x[:, 0, 0, 0] * 255).round() > 100
    return torch.stack([~first, first], dim=1).float()


def judge(attacks: list[AttackPlan], **changes: Any) -> RobustnessResult:
    labels = np.ones(10, np.int64)
    labels[9] = 0  # wrong as it is
    how = {key: changes.pop(key) for key in ("others", "sequential") if key in changes}
    arguments: dict[str, Any] = {"threat": ThreatModel("linf", 4 / 255), "seed": 0, "batch_size": 4} | changes
    case = Case(engine=answers, twin=twin_of_answers, images=numbered(10), labels=labels, **arguments)
    return evaluate_robustness(case, attacks, **how)


def case_of(engine: Any, twin: Any, images: Any, labels: Any, *, threat: ThreatModel = THREAT, **how: Any) -> Case:
    return Case(engine=engine, twin=twin, images=images, labels=labels, threat=threat, **how)


@pytest.mark.parametrize("preset", ["paper", "quick"])
@pytest.mark.parametrize("batch_size", [7, 256])
def test_two_classes_give_the_closed_form(two_classes: Any, preset: str, batch_size: int) -> None:
    images, labels = images_for(two_classes)
    truth = two_classes.withstands(images, labels, RADIUS)
    assert 15 < truth.sum() < 45, "the radius tells images apart"
    case = case_of(two_classes, twin_of(two_classes), images, labels, batch_size=batch_size)
    result = evaluate_robustness(case, choose_attacks(preset, THREAT).plans)
    assert np.array_equal(result.robust, truth)
    assert result.clean == (two_classes(images).argmax(1) == labels).sum()
    white_box = [outcome for outcome in result.attacks if outcome.plan.target == "twin"]
    assert [outcome.robust for outcome in white_box] == [truth.sum()] * len(white_box)
    assert all(outcome.robust >= truth.sum() for outcome in result.attacks)
    assert all(outcome.attacked == result.clean for outcome in result.attacks)
    assert all(outcome.agreement and outcome.agreement.logits == 0 for outcome in result.attacks)


@pytest.mark.parametrize("threat", [THREAT, ThreatModel("l2", 0.2)])
def test_adversarial_images_are_what_the_verdict_says(three_classes: Any, threat: ThreatModel) -> None:

    images, labels = images_for(three_classes)
    case = case_of(three_classes, twin_of(three_classes), images, labels, threat=threat)
    result = evaluate_robustness(case, choose_attacks("quick", threat).plans)
    assert 0 < result.robust.sum() < result.clean
    assert np.array_equal(three_classes(result.adversarial).argmax(1) == labels, result.robust)
    assert threat.contains(result.adversarial, images).all()
    unchanged = (result.adversarial == images).all((1, 2, 3))
    assert np.array_equal(unchanged, result.robust | (three_classes(images).argmax(1) != labels))


def test_union_of_attacks() -> None:
    result = judge([fake("a", "twin", {0, 1, 2}), fake("b", "twin", {2, 3}), fake("c", "engine", {3, 4})])
    assert np.flatnonzero(result.robust).tolist() == [5, 6, 7, 8]
    assert result.clean == 9
    assert [(o.attacked, o.broken, o.robust, o.remaining_only) for o in result.attacks] == [
        (9, 3, 6, False),
        (9, 2, 7, False),
        (9, 2, 7, False),
    ]
    assert result.queries_only == 1  # number 4
    assert result.transfer_only is None
    assert [o.candidates.rows.tolist() for o in result.attacks] == [[0, 1, 2], [2, 3], [3, 4]]
    assert (result.moved, [o.broken_twin_only for o in result.attacks]) == (0, [0, 0, 0])


@pytest.mark.parametrize(("sequential", "queries", "transfer"), [(False, 2, 2), (True, 2, 1)])
def test_what_white_box_attacks_missed(sequential: bool, queries: int, transfer: int) -> None:
    attacks = [fake("a", "twin", {0, 1, 2}), fake("q", "engine", {2, 3, 4}), fake("t", "parent", {0, 4, 5})]
    result = judge(attacks, sequential=sequential, others={"parent": twin_of_answers})
    assert np.flatnonzero(result.robust).tolist() == [6, 7, 8]
    assert (result.queries_only, result.transfer_only) == (queries, transfer)
    found = {m.name: m.value for m in result.measurements()}
    assert (found["broken-by-queries-only"], found["broken-by-transfer-only"]) == (10 * queries, 10 * transfer)


def test_an_attack_is_made_on_the_model_that_it_names() -> None:
    seen = []

    def search(model: Any, images: Any, labels: Any, **_: Any) -> AttackResult:
        seen.append(model)
        return AttackResult(name="t", settings={}, adversarial=images, seconds=0.0, evaluations=0)

    parent = object()
    judge([AttackPlan(name="t", target="parent", search=search, settings={})], others={"parent": parent})
    assert seen == [parent] * 3
    with pytest.raises(RecipeError, match="no parent to search on for t"):
        judge([AttackPlan(name="t", target="parent", search=search, settings={})])


def test_a_targeted_verdict(three_classes: Any) -> None:
    images, labels = images_for(three_classes)
    others = labels != 2
    aimed, free = (
        evaluate_robustness(
            case_of(three_classes, twin_of(three_classes), images[others], labels[others], threat=threat),
            choose_attacks("quick", threat).plans,
        )
        for threat in (ThreatModel("linf", RADIUS / 255, 2), THREAT)
    )
    assert free.robust.sum() < aimed.robust.sum() < aimed.clean
    found = three_classes(aimed.adversarial).argmax(1)
    assert (found[aimed.right & ~aimed.robust] == 2).all()
    with pytest.raises(DataError, match="target class 2"):
        evaluate_robustness(
            case_of(three_classes, None, images, labels, threat=aimed.threat), [fake("a", "engine", set())]
        )


def test_sequential_attacks_only_what_is_left() -> None:
    calls: list[list[int]] = []
    attacks = [fake("a", "twin", {0, 1, 2}), fake("b", "engine", {2, 3}, calls), fake("c", "twin", {3, 4})]
    result = judge(attacks, sequential=True)
    assert np.flatnonzero(result.robust).tolist() == [5, 6, 7, 8]
    assert calls == [[5, 6, 7, 8]]
    assert [(o.plan.name, o.attacked, o.broken, o.robust, o.remaining_only) for o in result.attacks] == [
        ("a", 9, 3, 6, True),
        ("c", 6, 2, 4, True),
        ("b", 4, 0, 4, True),
    ]


@pytest.mark.parametrize("sequential", [False, True])
def test_what_queries_alone_break_does_not_depend_on_the_order(sequential: bool) -> None:
    """Queries first: in a sequential run the attack on the twin would not see what they broke."""
    attacks = [fake("q", "engine", {2, 3}), fake("t", "parent", {0, 3}), fake("a", "twin", {0, 1, 2, 3})]
    result = judge(attacks, sequential=sequential, others={"parent": twin_of_answers})
    assert (result.queries_only, result.transfer_only) == (0, 0)
    assert np.flatnonzero(result.robust).tolist() == [4, 5, 6, 7, 8]


@pytest.mark.parametrize("name", ["engine", "twin"])
def test_no_other_model_takes_the_place_of_the_engine_or_its_twin(name: str) -> None:
    with pytest.raises(RecipeError, match=f"a model for transfer called {name}"):
        judge([fake("a", name, {1})], others={name: object()})


def test_nothing_left_to_attack() -> None:
    result = judge([fake("a", "twin", set(range(10))), fake("b", "engine", {1})], sequential=True)
    assert not result.robust.any()
    assert (result.attacks[1].attacked, result.attacks[1].robust) == (0, 0)
    assert result.attacks[1].agreement is not None
    assert result.attacks[1].agreement.n == 0


def test_what_breaks_only_the_twin_does_not_count(three_classes: Any) -> None:
    """The engine answers right whatever comes; the twin is another network."""
    images, _ = images_for(three_classes)
    twin = twin_of(three_classes)
    labels = three_classes(images).argmax(1).astype(np.int64)
    lookup = np.eye(3, dtype=np.float32)

    def engine(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return lookup[labels[: len(pixels)]]

    result = evaluate_robustness(case_of(engine, twin, images, labels), choose_attacks("paper", THREAT).plans)
    assert result.robust.all()
    (outcome,) = result.attacks
    assert outcome.agreement is not None
    assert outcome.agreement.logits == len(images)
    assert outcome.agreement.classes > 10
    assert outcome.broken_twin_only == outcome.agreement.classes == result.moved
    assert outcome.broken_engine_only == 0
    assert not outcome.candidates.on_engine.any()


def test_a_different_engine_is_reported(three_classes: Any) -> None:
    images, labels = images_for(three_classes)

    def engine(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = three_classes(pixels)
        logits[pixels.reshape(len(pixels), -1).sum(1) % 2 == 0] += np.float32(0.25)
        return logits

    case = case_of(engine, twin_of(three_classes), images, labels)
    result = evaluate_robustness(case, choose_attacks("paper", THREAT).plans)
    (outcome,) = result.attacks
    assert outcome.agreement is not None
    assert 0 < outcome.agreement.logits < outcome.agreement.n == outcome.attacked
    assert outcome.agreement.classes == 0
    assert outcome.agreement.largest == pytest.approx(0.25)
    found = {m.name: m for m in result.measurements()}
    assert found["twin-mismatch"].value == outcome.agreement.logits
    assert found["twin-mismatch"].settings["on"] == "candidates"
    assert result.measurements()[0].settings["logits_differ"] == outcome.agreement.logits
    assert found["verdict-moved"].value == 0


def test_without_a_twin_only_scores_are_left(three_classes: Any) -> None:
    images, labels = images_for(three_classes)
    attacks = choose_attacks("quick", THREAT).plans
    with pytest.raises(RecipeError, match="no twin to search on for pgd-20"):
        evaluate_robustness(case_of(three_classes, None, images, labels), attacks)
    result = evaluate_robustness(case_of(three_classes, None, images, labels), attacks[2:])
    assert result.attacks[0].agreement is None
    assert result.queries_only is None
    assert (result.robust >= three_classes.withstands(images, labels, RADIUS)).all()
    assert result.moved is None
    assert {m.name for m in result.measurements()} == {"robust-accuracy"}


def test_same_seed_same_result(three_classes: Any) -> None:
    images, labels = images_for(three_classes)

    def run(seed: int) -> RobustnessResult:
        case = case_of(three_classes, twin_of(three_classes), images, labels, seed=seed, batch_size=25)
        return evaluate_robustness(case, choose_attacks("quick", THREAT).plans)

    one, same, other = run(0), run(0), run(1)
    assert np.array_equal(one.adversarial, same.adversarial)
    assert [o.evaluations for o in one.attacks] == [o.evaluations for o in same.attacks]
    assert one.attacks[2].evaluations != other.attacks[2].evaluations


def test_every_batch_has_its_own_seed() -> None:
    seeds = []
    plan = fake("a", "twin", set())

    def search(*arguments: Any, seed: int, **others: Any) -> AttackResult:
        seeds.append(seed)
        return plan.search(*arguments, seed=seed, **others)

    judge([AttackPlan(name="a", target="twin", search=search, settings={})])
    assert len(seeds) == len(set(seeds)) == 3


def test_measurements_carry_n_interval_and_settings() -> None:
    result = judge([fake("a", "twin", {0, 1, 2}), fake("c", "engine", {4})])
    rows = [m for m in result.measurements() if m.name == "robust-accuracy"]
    assert [(m.settings["attack"], m.value, m.n) for m in rows] == [("a", 60, 10), ("c", 80, 10), ("union", 50, 10)]
    low, high = wilson(5, 10)
    assert rows[-1].spread == (100 * low, 100 * high)
    assert rows[-1].settings.items() >= {"of": "a + c", "clean": 9, "seconds": 3.0, "alarms": "none"}.items()
    expected = {
        "threat": "linf:4/255",
        "seed": 0,
        "batch_size": 4,
        "target": "twin",
        "broken": 3,
        "broken_twin_only": 0,
        "broken_engine_only": 0,
        "logits_differ": 0,
        "remaining_only": False,
        "seconds": 1.5,
        "evaluations": 9,
    }
    assert rows[0].settings.items() >= expected.items()
    assert result.measurements(["random", "flat loss"])[2].settings["alarms"] == "random, flat loss"
    (queries,) = (m for m in result.measurements() if m.name == "broken-by-queries-only")
    assert (queries.value, queries.n) == (10, 10)


def test_progress_is_told_after_every_batch() -> None:
    told: list[tuple[str, int, int, str]] = []
    judge([fake("a", "twin", {0, 5})], progress=lambda *news: told.append(news))
    assert told == [
        ("a", 4, 9, "1 of 4 images broken"),
        ("a", 8, 9, "2 of 8 images broken"),
        ("a", 9, 9, "2 of 9 images broken"),
    ]


def test_an_attack_that_leaves_the_ball_is_caught() -> None:
    with pytest.raises(GateError, match=r"cheat left the threat model linf:4/255.*2 of 4 outside"):
        judge([fake("cheat", "twin", {1, 2}, by=5)])


@pytest.mark.parametrize("attacks", [[], [fake("a", "twin", set()), fake("a", "twin", set())]])
def test_refuses(attacks: list[AttackPlan]) -> None:
    with pytest.raises(RecipeError, match="one or more with different names"):
        judge(attacks)
