from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hardtemper.bench.attacks.black_box.zoo import _Adam, zoo
from hardtemper.bench.attacks.threat.geometry import ball_of
from hardtemper.bench.attacks.threat.threat_model import ThreatModel
from hardtemper.runtime.errors import RecipeError

Task = Any  # the fixture's class, in conftest.py


def test_finds_the_corner_of_a_linear_model() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=48) + 3 * rng.choice([-1, 1], 48)

    def scores(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        total = images.reshape(len(images), -1).astype(np.float64) @ weights
        return np.stack([np.full(len(images), 1e6), total], 1).astype(np.float32)  # class 0, whatever comes

    pixels = rng.integers(0, 256, (3, 3, 4, 4)).astype(np.uint8)
    threat = ThreatModel("linf", 9 / 255)
    result = zoo(scores, pixels, np.zeros(3, np.int64), threat=threat, queries=99, levels=3)  # each pixel once
    corner = np.clip(pixels + 9 * np.sign(weights).reshape(3, 4, 4), 0, 255)
    assert np.array_equal(result.adversarial, corner)  # also at black and white, where a difference is one-sided


def test_every_pixel_is_asked_about_before_one_comes_again() -> None:
    base = np.full((2, 1, 5, 5), 250, np.uint8)
    asked = []

    def scores(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(images)
        return np.zeros((len(images), 2), np.float32)

    zoo(scores, base, np.zeros(2, np.int64), threat=ThreatModel("l2", 1.0), queries=15 * 4, coordinates=7, levels=20)
    moves = np.concatenate(asked).astype(int).reshape(-1, 2, 25)[:, 1] - 250
    moves = moves[moves.any(1)]
    assert len(moves) == 4 * 14
    assert (np.sort(moves[moves != 0]) == [-20] * 28 + [5] * 28).all()  # cut at white
    assert ((moves != 0).sum(1) == 1).all()
    assert ((moves != 0).sum(0) >= 2).all()
    assert ((moves != 0).sum(0) <= 4).all()


def test_differences_below_the_steps_of_an_engine_vanish(task: Task) -> None:
    def coarse(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return task.scores((images + np.uint8(8)) // 16 * 16)  # as an engine whose input has 4 bits

    steps = task.pixels[:30].clip(0, 240) // 16 * 16
    labels = coarse(steps).argmax(1)
    threat = ThreatModel("linf", 24 / 255)
    moved = [
        (zoo(coarse, steps, labels, threat=threat, queries=330, levels=h).adversarial != steps).mean() for h in (1, 16)
    ]
    assert moved[0] == 0
    assert moved[1] > 0.3


def test_steps_are_those_of_adam_on_the_coordinates_that_move() -> None:
    # Of the margin a^T q^2 the difference quotient is a (up + down). Every coordinate has an Adam of its own.
    rng = np.random.default_rng(0)
    a = torch.from_numpy(rng.normal(size=(2, 6))).float()
    point = torch.rand(2, 1, 2, 3)
    rows, expected = np.array([0, 2]), [point.flatten(1)[:, i].clone() for i in range(6)]
    adams = [torch.optim.Adam([column], lr=0.1, maximize=True) for column in expected]
    rule = _Adam(
        queries=8,
        levels=10,
        learning_rate=0.1,
        rng=np.random.default_rng(1),
        first=torch.zeros(3, 6),
        second=torch.zeros(3, 6),
        count=torch.zeros(6),
    )

    def margin(candidates: NDArray[np.uint8]) -> Tensor:
        return (torch.from_numpy(candidates).float().flatten(2).square() * a).sum(2)

    for _ in range(6):  # of 4 coordinates each
        pixels = rng.integers(-40, 296, (2, 1, 2, 3)).clip(0, 255).astype(np.uint8)
        after = rule.step(margin, pixels, point, rows)
        moved = (after != point).flatten(1).any(0).nonzero().flatten().tolist()
        assert len(moved) == 4
        for i in moved:
            q = torch.from_numpy(pixels).float().flatten(1)[:, i]
            expected[i].grad = a[:, i] * ((q + 10).clamp(max=255) + (q - 10).clamp(min=0))
            adams[i].step()
        point = after
        torch.testing.assert_close(point.flatten(1), torch.stack(expected, 1), rtol=0, atol=1e-5)
    assert rule.count.tolist() == [4.0] * 6


@pytest.mark.parametrize(
    "settings",
    [{"coordinates": 0}, {"levels": 0}, {"levels": 256}, *({"learning_rate": r} for r in (-0.1, math.nan, math.inf))],
    ids=str,
)
def test_refused_settings(task: Task, settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"expected: .*got: "):
        zoo(task.scores, task.pixels, task.labels, threat=ThreatModel("linf", 0.1), **settings)


def test_breaks_no_fewer_than_art(task: Task, art: Callable[[Task], Any]) -> None:
    few, threat = slice(0, 4), ThreatModel("l2", 1.5)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        from art.attacks.evasion import ZooAttack

        classifier, predict, asked = art(task), art(task).predict, []

        def counted(x: NDArray[Any], *rest: Any, **named: Any) -> Any:
            asked.append(len(x))
            return predict(x.astype(np.float32), *rest, **named)

        classifier.predict = counted
        attack = ZooAttack(
            classifier,
            learning_rate=0.1,
            max_iter=10,
            binary_search_steps=1,
            initial_const=1.0,
            abort_early=False,
            use_resize=False,
            use_importance=False,
            nb_parallel=32,
            variable_h=0.01,
            verbose=False,
        )
        found = attack.generate(task.x[few].numpy(), np.eye(6)[task.labels[few]])
    theirs = ball_of(threat).to_pixels(torch.from_numpy(found).float(), torch.from_numpy(task.pixels[few])).numpy()
    queries = sum(asked) // 4
    assert queries > 300
    ours = zoo(task.scores, task.pixels[few], task.labels[few], threat=threat, queries=queries)
    assert ours.evaluations <= sum(asked) + 4
    broken = [(task.scores(images).argmax(1) != task.labels[few]).sum() for images in (ours.adversarial, theirs)]
    assert broken[0] >= max(broken[1], 1)
