"""What holds for every attack that raises a margin by scores: NES and ZOO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from hardtemper.bench.attacks.black_box.nes import nes
from hardtemper.bench.attacks.black_box.score_ascent import Margin, ScoreAscent
from hardtemper.bench.attacks.black_box.zoo import zoo
from hardtemper.bench.attacks.result import AttackResult
from hardtemper.bench.attacks.threat.geometry import ball_of
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.runtime.errors import RecipeError

Task = Any  # the fixture's class, in conftest.py
Attack = Callable[..., AttackResult]
LINF, L2 = ThreatModel("linf", 20 / 255), ThreatModel("l2", 0.75)
BALLS = st.one_of(
    st.builds(ThreatModel, st.just("linf"), st.floats(0, 1)), st.builds(ThreatModel, st.just("l2"), st.floats(0, 3))
)
STEP = {nes: 21, zoo: 33}  # queries

every_attack = pytest.mark.parametrize("attack", [nes, zoo])


@every_attack
@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_result(task: Task, attack: Attack, threat: ThreatModel) -> None:
    pixels, labels = task.pixels[:50], task.labels[:50]
    before = pixels.copy()
    results = [attack(task.scores, pixels, labels, threat=threat, queries=400, seed=s) for s in (1, 1, 2)]
    assert np.array_equal(results[0].adversarial, results[1].adversarial)
    assert not np.array_equal(results[0].adversarial, results[2].adversarial)
    assert np.array_equal(pixels, before)
    assert results[0].adversarial.dtype == np.uint8
    assert results[0].name == attack.__name__
    assert results[0].settings.items() >= {"threat": str(threat), "seed": 1, "queries": 400}.items()
    assert all(isinstance(value, (str, int, float, bool)) for value in results[0].settings.values())
    broken = task.scores(results[0].adversarial).argmax(1) != labels
    assert 0.2 < broken.mean() < 1
    assert results[0].evaluations < 401 * len(labels)  # broken images leave the search
    assert threat.contains(results[0].adversarial, pixels).all()


@every_attack
@settings(max_examples=15)
@given(threat=BALLS, seed=st.integers(0, 2**32))
def test_every_result_is_in_the_ball(attack: Attack, threat: ThreatModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels, weights = rng.integers(-40, 296, (5, 1, 3, 3)).clip(0, 255).astype(np.uint8), rng.normal(size=(9, 4))

    def scores(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(images.reshape(len(images), 9) @ weights, np.float32)

    labels = scores(pixels).argmax(1)
    found = attack(scores, pixels, labels, threat=threat, queries=70, seed=seed).adversarial
    assert found.dtype == np.uint8
    assert threat.contains(found, pixels).all()


@every_attack
@pytest.mark.parametrize("queries", [33, 100, 131])
def test_as_many_queries_as_fit(task: Task, attack: Attack, queries: int) -> None:
    calls = []

    def constant(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert images.dtype == np.uint8
        calls.append(len(images))
        return np.zeros((len(images), 6), np.float32)

    threat = ThreatModel("linf", 1 / 255)
    result = attack(constant, task.pixels[:5], np.zeros(5, np.int64), threat=threat, queries=queries)
    assert sum(calls) == result.evaluations == 5 * (1 + queries // STEP[attack] * STEP[attack])
    assert threat.contains(result.adversarial, task.pixels[:5]).all()
    wrong = attack(constant, task.pixels[:5], np.ones(5, np.int64), threat=threat, queries=queries)
    assert np.array_equal(wrong.adversarial, task.pixels[:5])  # a tie is for class 0: nothing to do
    assert wrong.evaluations == 5


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_a_rule_goes_on_from_the_projection_of_where_it_went(task: Task, threat: ThreatModel) -> None:
    seen: list[tuple[NDArray[np.uint8], Tensor]] = []

    class Far:
        queries = 1

        def step(self, margin: Margin, pixels: NDArray[np.uint8], x_adv: Tensor, rows: NDArray[np.int64]) -> Tensor:
            seen.append((pixels, x_adv))
            return x_adv + torch.linspace(-1, 1, 144).view(12, 12)

    def constant(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.zeros((len(images), 6), np.float32)

    search = ScoreAscent(name="far", rule=Far(), threat=threat, queries=6, settings={})
    search.run(constant, task.pixels[:5], np.zeros(5, np.int64), lambda *said: None)
    point = task.x[:5]
    assert len(seen) == 3
    for pixels, x_adv in seen:
        torch.testing.assert_close(x_adv, point)
        assert np.array_equal(pixels, ball_of(threat).to_pixels(point, torch.from_numpy(task.pixels[:5])).numpy())
        point = ball_of(threat).project(point + torch.linspace(-1, 1, 144).view(12, 12), task.x[:5])


@every_attack
def test_towards_a_target(task: Task, attack: Attack) -> None:
    pixels, labels = task.pixels[:50], task.labels[:50]
    found = {
        target: attack(
            task.scores, pixels, labels, threat=ThreatModel("linf", 60 / 255, target=target), queries=500
        ).adversarial
        for target in (3, None)
    }
    moved = (found[3] != pixels).any((1, 2, 3))
    assert np.array_equal(moved, labels != 3)  # images of the target are left alone
    hits = {target: (task.scores(images).argmax(1) == 3)[labels != 3].mean() for target, images in found.items()}
    assert hits[3] > 0.5
    assert hits[3] > hits[None] + 0.2


@every_attack
def test_unbroken_images_come_back_with_the_largest_margin(task: Task, attack: Attack) -> None:
    def margin(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = task.scores(images)
        right = logits[np.arange(len(images)), task.labels[:50]].copy()
        logits[np.arange(len(images)), task.labels[:50]] = -np.inf
        return logits.max(1) - right

    few, many = (
        margin(
            attack(
                task.scores, task.pixels[:50], task.labels[:50], threat=ThreatModel("linf", 3 / 255), queries=q
            ).adversarial
        )
        for q in (40, 600)
    )
    held = few < 0
    assert held.mean() > 0.5
    assert (many >= few)[held].all()  # the same steps, and more of them
    assert (many > few)[held].mean() > 0.5


@every_attack
def test_progress_and_no_images(task: Task, attack: Attack) -> None:
    told: list[tuple[Any, ...]] = []
    attack(task.scores, task.pixels, task.labels, threat=LINF, queries=70, progress=lambda *said: told.append(said))
    steps = 70 // STEP[attack]
    assert [said[:3] for said in told] == [(attack.__name__, done, steps) for done in range(1, steps + 1)]
    assert told[-1][3].endswith(f"of {len(task.labels)} images unbroken")
    empty = attack(task.scores, task.pixels[:0], task.labels[:0], threat=LINF)
    assert empty.adversarial.shape == task.pixels[:0].shape


@every_attack
def test_scores_that_are_no_numbers_do_no_harm(task: Task, attack: Attack) -> None:
    def broken(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        logits = np.zeros((len(images), 6), np.float32)
        logits[:, 5] = np.nan if len(images) != 3 else -np.inf
        return logits

    result = attack(broken, task.pixels[:3], np.zeros(3, np.int64), threat=LINF, queries=100)
    assert LINF.contains(result.adversarial, task.pixels[:3]).all()


@every_attack
@pytest.mark.parametrize(
    ("threat", "settings"), [(LINF, {"queries": 20}), (ThreatModel("l1", 9.0), {})], ids=["queries", "l1"]
)
def test_refused(task: Task, attack: Attack, threat: ThreatModel, settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"expected: .*got: "):
        attack(task.scores, task.pixels, task.labels, threat=threat, **settings)
