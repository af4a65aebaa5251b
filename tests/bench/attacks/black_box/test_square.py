from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from hardtemper.bench.attacks.access import Pixels
from hardtemper.bench.attacks.black_box.square import square, window_side
from hardtemper.bench.attacks.black_box.squares import squares_in
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.runtime.errors import ModelError, RecipeError

Task = Any  # the fixture's class, in conftest.py
LINF, L2, L1 = ThreatModel("linf", 20 / 255), ThreatModel("l2", 0.75), ThreatModel("l1", 5.0)


@pytest.mark.parametrize("queries", [100, 5000, 10000])
def test_window_side_follows_the_published_schedule(queries: int) -> None:
    published = {10: 2, 50: 4, 200: 8, 500: 16, 1000: 32, 2000: 64, 4000: 128, 6000: 256, 8000: 512}
    for iteration in range(0, queries, max(queries // 1000, 1)):
        scaled = int(iteration / queries * 10000)
        p = 0.8 / max([divisor for after, divisor in published.items() if scaled > after], default=1)
        assert window_side(iteration, queries, 0.8, 32, 32) == max(round(math.sqrt(p * 32 * 32)), 1)
    assert window_side(0, queries, 1.0, 8, 20) == 8  # never larger than the image


def test_breaks_a_linear_model_as_far_as_it_can_be(linear: nn.Module) -> None:
    # margin(x + delta) >= margin(x) - epsilon ||w_y - w_k||_1, reached at a corner: who is within reach is known.
    rng = np.random.default_rng(0)
    pixels = rng.integers(60, 196, (100, 3, 4, 4)).astype(np.uint8)

    def scores(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            return linear(torch.from_numpy(images).float() / 255).numpy()

    labels = scores(pixels).argmax(1)
    threat = ThreatModel("linf", 10 / 255)
    w = linear[1].weight.detach().numpy()
    reach = threat.epsilon * np.abs(w[labels][:, None] - w[None]).sum(2)
    gap = scores(pixels)[np.arange(100), labels][:, None] - scores(pixels) - reach
    gap[np.arange(100), labels] = np.inf
    within, beyond = gap.min(1) < -0.02, gap.min(1) > 1e-4
    result = square(scores, pixels, labels, threat=threat, queries=2000)
    broken = scores(result.adversarial).argmax(1) != labels
    assert 10 < within.sum() < 90
    assert broken[within].mean() > 0.97
    assert not broken[beyond].any()


@pytest.mark.parametrize("p_init", [0.05, 0.3, 1.0])
def test_windows_follow_the_schedule_from_p_init(monkeypatch: pytest.MonkeyPatch, p_init: float) -> None:
    sides = []

    class Noted:
        def __init__(self, *settings: Any) -> None:
            self.squares = squares_in(*settings)

        def start(self, x: Pixels) -> Pixels:
            sides.append(0)
            return self.squares.start(x)

        def propose(self, x: Pixels, best: Pixels, side: int) -> Pixels:
            sides.append(side)
            return self.squares.propose(x, best, side)

    monkeypatch.setattr(sys.modules["hardtemper.bench.attacks.black_box.square"], "squares_in", Noted)
    grey = np.full((2, 1, 20, 20), 128, np.uint8)
    square(
        lambda x: np.zeros((len(x), 2), np.float32),
        grey,
        np.zeros(2, np.int64),
        threat=LINF,
        queries=100,
        p_init=p_init,
    )
    first = round(math.sqrt(p_init * 400))
    assert sides[:2] == [0, first]
    assert sides == [0, *(window_side(query, 100, p_init, 20, 20) for query in range(99))]


def test_starts_with_stripes_and_keeps_what_raises_the_margin() -> None:
    # Class 1 where the image gets brighter than it can: the margin is the brightness.
    asked: list[Pixels] = []

    def scores(images: Pixels) -> NDArray[np.float32]:
        asked.append(images)
        bright = images.mean((1, 2, 3))
        return np.stack([np.full(len(images), 256.0), bright], 1).astype(np.float32)

    grey = np.full((4, 2, 8, 8), 128, np.uint8)
    result = square(scores, grey, np.zeros(4, np.int64), threat=LINF, queries=80)
    stripes = asked[1].astype(int) - 128
    assert set(np.unique(stripes)) == {-20, 20}
    assert (stripes == stripes[:, :, :1]).all()  # upright
    assert (stripes.min(3) < stripes.max(3)).all()  # each of its own sign
    best = asked[1]
    for candidate in asked[2:]:
        assert (candidate != best).any((1, 2, 3)).all()
        best = np.where((candidate.mean((1, 2, 3)) > best.mean((1, 2, 3)))[:, None, None, None], candidate, best)
    assert np.array_equal(result.adversarial, best)
    assert best.mean() > 140


@pytest.mark.parametrize(("threat", "q"), [(L2, 2), (L1, math.inf)])
def test_finds_half_the_optimum_of_a_linear_model_in_l2_and_l1(threat: ThreatModel, q: float) -> None:
    # margin(x + delta) <= margin(x) + epsilon ||w||_q: never reached, and half of it found soon.
    weights = np.ones((8, 8))
    weights[2:5, 2:5] = 4.0
    reach = 255 * threat.epsilon * np.linalg.norm(weights.ravel(), q)

    def raised(images: Pixels) -> NDArray[np.float64]:
        gained: NDArray[np.float64] = ((images.astype(float) - 100) * weights).sum((1, 2, 3)) / reach
        return gained

    def scores(images: Pixels) -> NDArray[np.float32]:
        return np.stack([np.full(len(images), 1.001), raised(images)], 1).astype(np.float32)

    pixels = np.full((6, 1, 8, 8), 100, np.uint8)
    found = raised(square(scores, pixels, np.zeros(6, np.int64), threat=threat, queries=150).adversarial)
    assert found.mean() > 0.5
    assert found.max() <= 1


@pytest.mark.parametrize("threat", [LINF, L2, L1], ids=str)
def test_every_query_is_in_the_ball(task: Task, threat: ThreatModel) -> None:
    pixels = task.pixels[:1].repeat(5, axis=0)  # one image five times: any query can be held against it
    queries = []

    def scores(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert threat.contains(images, pixels[: len(images)]).all()
        queries.append(len(images))
        logits = np.zeros((len(images), 6), np.float32)
        logits[:, task.labels[0]] = np.random.default_rng(len(queries)).random(len(images))  # no candidate fools
        return logits

    result = square(scores, pixels, task.labels[:1].repeat(5), threat=threat, queries=150)
    assert queries == [5] * 151  # the images as they are, and 150 queries each
    assert result.evaluations == sum(queries)


@pytest.mark.parametrize("threat", [LINF, L2, L1], ids=str)
def test_result(task: Task, threat: ThreatModel) -> None:
    before = task.pixels.copy()
    results = [
        square(task.scores, task.pixels, task.labels, threat=threat, queries=60, seed=seed) for seed in (1, 1, 2)
    ]
    assert np.array_equal(results[0].adversarial, results[1].adversarial)
    assert not np.array_equal(results[0].adversarial, results[2].adversarial)
    assert np.array_equal(task.pixels, before)
    assert results[0].name == "square"
    assert results[0].settings == {"threat": str(threat), "seed": 1, "queries": 60, "p_init": 0.8}
    broken = task.scores(results[0].adversarial).argmax(1) != task.labels
    assert 0.2 < broken.mean() < 1
    assert results[0].evaluations < 61 * len(task.labels)  # broken images leave the search
    assert threat.contains(results[0].adversarial, task.pixels).all()


@pytest.mark.parametrize("text", ["linf:0.16->2", "l2:2->2", "l1:15->2"])
def test_towards_a_target(task: Task, text: str) -> None:
    threat = ThreatModel.parse(text)
    result = square(task.scores, task.pixels, task.labels, threat=threat, queries=200)
    assert threat.contains(result.adversarial, task.pixels).all()
    others = task.labels != 2
    anyhow = square(task.scores, task.pixels, task.labels, threat=ThreatModel(threat.norm, threat.epsilon), queries=200)
    aimed, unaimed = ((task.scores(r.adversarial).argmax(1) == 2)[others].mean() for r in (result, anyhow))
    assert aimed > max(0.4, 1.5 * unaimed)
    assert np.array_equal(result.adversarial[~others], task.pixels[~others])


def test_a_target_beyond_the_classes(task: Task) -> None:
    with pytest.raises(ModelError, match="a class below 6; got: 6"):
        square(task.scores, task.pixels, task.labels, threat=ThreatModel("linf", 0.1, target=6), queries=2)


def test_wrong_images_come_back_as_they_are(task: Task) -> None:
    labels = task.labels.copy()
    labels[::2] = (labels[::2] + 1) % 6
    result = square(task.scores, task.pixels, labels, threat=LINF, queries=5)
    assert np.array_equal(result.adversarial[::2], task.pixels[::2])
    assert (result.adversarial[1::2] != task.pixels[1::2]).any((1, 2, 3)).all()


def test_unbroken_images_come_back_with_the_smallest_margin(task: Task) -> None:
    few, many = (
        square(task.scores, task.pixels, task.labels, threat=ThreatModel("linf", 2 / 255), queries=queries).adversarial
        for queries in (1, 100)
    )
    margins = [task.scores(images)[np.arange(len(images)), task.labels] for images in (task.pixels, few, many)]
    assert margins[2].mean() < margins[1].mean()


def test_a_tie_is_for_the_class_with_the_lower_index(task: Task) -> None:
    def tie(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.zeros((len(images), 6), np.float32)

    labels = np.zeros(4, np.int64)
    assert square(tie, task.pixels[:4], labels, threat=LINF, queries=3).evaluations == 4 * 4
    assert square(tie, task.pixels[:4], labels + 1, threat=LINF, queries=3).evaluations == 4


def test_progress_and_no_images(task: Task) -> None:
    told: list[tuple[Any, ...]] = []
    square(task.scores, task.pixels, task.labels, threat=LINF, queries=120, progress=lambda *said: told.append(said))
    assert [said[:3] for said in told] == [("square", done, 120) for done in (0, 50, 100, 120)]
    assert told[-1][3].endswith(f"of {len(task.labels)} images unbroken")
    empty = square(task.scores, task.pixels[:0], task.labels[:0], threat=LINF)
    assert empty.adversarial.shape == task.pixels[:0].shape


@pytest.mark.parametrize("settings", [{"queries": 0}, {"p_init": 0.0}, {"p_init": 1.5}], ids=str)
def test_refused_settings(task: Task, settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"expected: .*got: "):
        square(task.scores, task.pixels, task.labels, threat=LINF, **settings)


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_robust_accuracy_is_that_of_art(task: Task, threat: ThreatModel, art: Callable[[Task], Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from art.attacks.evasion import SquareAttack

        attack = SquareAttack(
            art(task),
            norm="inf" if threat.norm == "linf" else 2,
            eps=threat.epsilon,
            max_iter=300,
            p_init=0.8,
            batch_size=128,
            verbose=False,
        )
        theirs = task.robust(torch.from_numpy(attack.generate(task.x.numpy(), task.labels)), threat)
    result = square(task.scores, task.pixels, task.labels, threat=threat, queries=300)
    ours = (task.scores(result.adversarial).argmax(1) == task.labels).mean()
    assert ours - theirs <= 0.03
