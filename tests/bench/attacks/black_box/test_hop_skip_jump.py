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
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hardtemper.bench.attacks.black_box.decisions import Decisions, distance
from hardtemper.bench.attacks.black_box.hop_skip_jump import _Search, hop_skip_jump
from hardtemper.bench.attacks.threat.geometry import ball_of
from hardtemper.bench.attacks.threat.threat_model import Norm, ThreatModel
from hardtemper.runtime.errors import RecipeError

Task = Any  # the fixture's class, in conftest.py
LINF, L2 = ThreatModel("linf", 20 / 255), ThreatModel("l2", 0.75)


@pytest.mark.parametrize(("norm", "dual", "near"), [("linf", 1, 1.5), ("l2", 2, 1.15)])
def test_comes_near_the_boundary_of_a_linear_model(norm: Norm, dual: int, near: float) -> None:
    # The nearest point of the other side is margin / ||w||_q away, unless pixels run out of [0, 255].
    rng = np.random.default_rng(0)
    weights = rng.normal(size=64)
    pixels = rng.integers(100, 156, (8, 1, 8, 8)).astype(np.uint8)
    heights = pixels.reshape(8, -1) @ weights
    threshold = heights.min() - 300

    def scores(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        height = images.reshape(len(images), -1) @ weights
        return np.stack([height - threshold, np.zeros(len(images))], 1).astype(np.float32)

    threat = ThreatModel(norm, 1.0 if norm == "linf" else 8.0)  # all images
    result = hop_skip_jump(scores, pixels, np.zeros(8, np.int64), threat=threat, queries=3000, early_stop=False, seed=1)
    assert (scores(result.adversarial).argmax(1) == 1).all()
    nearest = (heights - threshold) / np.linalg.norm(weights, dual)
    found = distance(result.adversarial, pixels, norm)
    assert (found >= nearest).all()
    assert np.mean(found / nearest) < near


class Halfspace:
    """An engine that takes an image for class 1 where weights @ pixels is above a threshold, and remembers what it saw.

    Args:
        weights: float [D].
        threshold: of weights @ pixels.
    """

    def __init__(self, weights: NDArray[np.float64], threshold: float) -> None:
        self.weights, self.threshold = weights, threshold
        self.asked: list[NDArray[np.uint8]] = []

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.asked.append(images)
        height = images.reshape(len(images), -1) @ self.weights - self.threshold
        return np.stack([np.zeros(len(images)), height], 1).astype(np.float32)

    def search(self, norm: Norm, *, noise: float = 5.0, images: int = 1) -> _Search:
        threat = ThreatModel(norm, 1e-3)
        decisions = Decisions(self, np.zeros(images, np.int64), threat, 10**6)
        return _Search(decisions=decisions, threat=threat, rng=np.random.default_rng(0), noise=noise, early_stop=False)


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_starts_from_the_projection_of_the_nearest_image_of_another_class(threat: ThreatModel) -> None:
    rng = np.random.default_rng(0)
    weights, pixels = rng.normal(size=64), rng.integers(0, 256, (24, 1, 8, 8)).astype(np.uint8)
    engine = Halfspace(weights, float(np.median(pixels.reshape(24, -1) @ weights)))
    labels = engine(pixels).argmax(1)
    assert labels.sum() == 12
    apart = np.square(pixels[:, None].astype(float) - pixels[None]).sum((2, 3, 4))
    apart[labels[:, None] == labels] = np.inf
    start = torch.from_numpy(pixels[apart.argmin(1)]).float() / 255
    projected = ball_of(threat).to_pixels(start, torch.from_numpy(pixels)).numpy()
    fooled = engine(projected).argmax(1) != labels
    assert 0 < fooled.sum() < 24
    engine.asked.clear()
    result = hop_skip_jump(engine, pixels, labels, threat=threat, queries=2)
    assert np.array_equal(engine.asked[1], projected)
    assert np.array_equal(result.adversarial[fooled], projected[fooled])  # no query is spent on coming nearer


@pytest.mark.parametrize("noise", [1.0, 5.0, 20.0])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_samples_are_as_noisy_as_asked_for(norm: Norm, noise: float) -> None:
    engine = Halfspace(np.ones(48), 48 * 128.0)
    grey = np.full((1, 3, 4, 4), 128, np.uint8)
    engine.search(norm, noise=noise).normal(grey, np.zeros(1, np.int64), np.array([1200]))
    moves = np.concatenate(engine.asked).astype(float) - 128
    assert len(moves) == 1200
    assert moves.mean() == pytest.approx(0, abs=0.02 * noise)
    assert np.square(moves).mean() == pytest.approx(noise**2 + 1 / 12, rel=0.03)  # rounding's variance
    if norm == "linf":
        assert np.abs(moves).max() == round(math.sqrt(3) * noise)  # uniform
    else:
        assert np.abs(moves).max() > 3 * noise


@pytest.mark.parametrize("threshold", [-math.inf, 20.0, math.inf])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_normal_is_the_papers_estimate(norm: Norm, threshold: float) -> None:
    # Far from the boundary most samples say the same, which the mean takes away, unless all of them do.
    weights = np.random.default_rng(1).normal(size=12)
    grey = np.full((1, 3, 2, 2), 128, np.uint8)
    engine = Halfspace(weights, 128 * weights.sum() + threshold)
    found = engine.search(norm).normal(grey, np.zeros(1, np.int64), np.array([700]))
    d = np.concatenate(engine.asked).astype(float) - 128
    phi = np.where(d.reshape(-1, 12) @ weights > threshold, 1.0, -1.0)
    assert abs(phi.mean()) == 1 if math.isinf(threshold) else -0.99 < phi.mean() < -0.6
    baseline = 0 if math.isinf(threshold) else phi.mean()
    expected = ((phi - baseline)[:, None, None, None] * d).sum(0)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(("step", "first"), [(1, 60), (4, 30), (9, 20)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_jump_is_of_the_distance_over_the_root_of_the_step(norm: Norm, step: int, first: int) -> None:
    # It is halved until the engine is fooled: the boundary lies above 10 levels of the first pixel.
    engine = Halfspace(-np.eye(4)[0], -110.5)
    x, present = np.full((1, 1, 2, 2), 100, np.uint8), np.full((1, 1, 2, 2), 100, np.uint8)
    present[0, 0, 1, 1] = 160  # 60 levels away in both norms
    normal = np.array([[[[3.0, 0.0], [0.0, 0.0]]]], np.float32)
    found = engine.search(norm).jump(present, x, normal, np.zeros(1, np.int64), step)
    moves = np.concatenate(engine.asked).astype(int) - present
    tried = [first]
    while tried[-1] > 10:
        tried.append(tried[-1] / 2)
    assert moves[:, 0, 0, 0].tolist() == [round(move) for move in tried]
    assert not moves[:, 0].reshape(-1, 4)[:, 1:].any()
    assert np.array_equal(found[0] - present[0], moves[-1])


@settings(max_examples=15)
@given(
    threat=st.one_of(
        st.builds(ThreatModel, st.just("linf"), st.floats(0, 1)), st.builds(ThreatModel, st.just("l2"), st.floats(0, 3))
    ),
    early_stop=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_every_result_is_in_the_ball(threat: ThreatModel, early_stop: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    engine = Halfspace(rng.normal(size=9), rng.normal(scale=300))
    pixels = rng.integers(-40, 296, (5, 1, 3, 3)).clip(0, 255).astype(np.uint8)
    labels = engine(pixels).argmax(1)
    found = hop_skip_jump(
        engine, pixels, labels, threat=threat, queries=80, samples=10, early_stop=early_stop, seed=seed
    ).adversarial
    assert found.dtype == np.uint8
    assert threat.contains(found, pixels).all()


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_result(task: Task, threat: ThreatModel) -> None:
    pixels, labels = task.pixels[:50], task.labels[:50]
    before = pixels.copy()
    results = [hop_skip_jump(task.scores, pixels, labels, threat=threat, queries=300, seed=seed) for seed in (1, 1, 2)]
    assert np.array_equal(results[0].adversarial, results[1].adversarial)
    assert not np.array_equal(results[0].adversarial, results[2].adversarial)
    assert np.array_equal(pixels, before)
    assert results[0].adversarial.dtype == np.uint8
    assert results[0].name == "hop-skip-jump"
    assert results[0].settings == {
        "threat": str(threat),
        "seed": 1,
        "queries": 300,
        "samples": 30,
        "noise": 5.0,
        "early_stop": True,
    }
    broken = task.scores(results[0].adversarial).argmax(1) != labels
    assert 0.2 < broken.mean() < 1
    assert results[0].evaluations < 301 * len(labels)  # images that are in the ball leave the search
    assert threat.contains(results[0].adversarial, pixels).all()


@pytest.mark.parametrize("queries", [1, 7, 40, 150])
def test_no_image_takes_more_queries_than_it_may(task: Task, queries: int) -> None:
    pixels, labels = task.pixels[:6], task.labels[:6]
    asked = 0

    def scores(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        nonlocal asked
        assert images.dtype == np.uint8
        asked += len(images)
        return task.scores(images)

    one = hop_skip_jump(scores, pixels[:1], labels[:1], threat=ThreatModel("l2", 0.01), queries=queries)
    assert asked == one.evaluations <= 1 + queries
    asked = 0
    all_ = hop_skip_jump(scores, pixels, labels, threat=ThreatModel("l2", 0.01), queries=queries)
    assert asked == all_.evaluations <= 6 * (1 + queries)


def test_only_the_answer_is_looked_at(task: Task) -> None:
    def answers(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.eye(6, dtype=np.float32)[task.scores(images).argmax(1)]

    by_scores, by_answers = (
        hop_skip_jump(scores, task.pixels[:20], task.labels[:20], threat=L2, queries=200).adversarial
        for scores in (task.scores, answers)
    )
    assert np.array_equal(by_scores, by_answers)


def test_a_constant_engine_is_never_fooled(task: Task) -> None:
    def constant(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.zeros((len(images), 6), np.float32)

    result = hop_skip_jump(constant, task.pixels[:4], np.array([0, 0, 1, 2]), threat=LINF, queries=60)
    assert np.array_equal(result.adversarial, task.pixels[:4])
    assert result.evaluations == 4 + 2 * 60  # a tie is for class 0; uniform noise is tried for the first two


def test_a_single_image_starts_from_noise() -> None:
    def scores(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.stack([np.full(len(images), 60.0), images.mean((1, 2, 3))], 1).astype(np.float32)

    dark = np.full((1, 1, 6, 6), 40, np.uint8)
    result = hop_skip_jump(scores, dark, np.zeros(1, np.int64), threat=ThreatModel("linf", 30 / 255), queries=500)
    assert scores(result.adversarial).argmax(1) == 1


def test_towards_a_target(task: Task) -> None:
    threat = ThreatModel("l2", 2.5, target=3)
    result = hop_skip_jump(task.scores, task.pixels, task.labels, threat=threat, queries=400)
    assert np.array_equal(result.adversarial[task.labels == 3], task.pixels[task.labels == 3])
    assert threat.contains(result.adversarial, task.pixels).all()
    assert (task.scores(result.adversarial).argmax(1) == 3)[task.labels != 3].mean() > 0.6


def test_refused_without_an_image_of_the_target(task: Task) -> None:
    others = task.labels != 3
    with pytest.raises(RecipeError, match=r"towards class 3; expected: .*got: .*fix: "):
        hop_skip_jump(task.scores, task.pixels[others], task.labels[others], threat=ThreatModel("linf", 0.1, target=3))


def test_nearer_with_more_queries(task: Task) -> None:
    everything = ThreatModel("l2", 13.0)
    far, near = (
        hop_skip_jump(
            task.scores, task.pixels[:40], task.labels[:40], threat=everything, queries=q, early_stop=False
        ).adversarial
        for q in (60, 400)
    )
    for found in (far, near):
        assert (task.scores(found).argmax(1) != task.labels[:40]).all()
    assert np.median(distance(near, task.pixels[:40], "l2")) < 0.8 * np.median(distance(far, task.pixels[:40], "l2"))


def test_an_image_with_few_queries_left_takes_no_samples_from_others(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[NDArray[np.int64]] = []

    class Uneven(Decisions):
        def __init__(self, *settings: Any) -> None:
            super().__init__(*settings)
            self.left[0] = 60

        def fooled(self, candidates: Any, rows: Any) -> Any:
            asked.append(np.bincount(rows, minlength=2))
            return super().fooled(candidates, rows)

    monkeypatch.setattr("hardtemper.bench.attacks.black_box.hop_skip_jump.Decisions", Uneven)
    threat = ThreatModel("l2", 0.001)
    both = np.array([0, np.flatnonzero(task.labels != task.labels[0])[0]])  # each is a start for the other
    hop_skip_jump(task.scores, task.pixels[both], task.labels[both], threat=threat, queries=300, early_stop=False)
    samples = np.array([counts for counts in asked if counts.max() >= 10])
    assert 10 <= samples[0, 0] < 30
    assert samples[1:, 0].max() < 10  # it is finished
    assert samples[:3, 1].tolist() == [30, 42, 51]  # B_0 sqrt(t)
    assert sum(counts[0] for counts in asked) <= 60
    assert 250 < sum(counts[1] for counts in asked) <= 300


def test_progress_and_no_images(task: Task) -> None:
    told: list[tuple[Any, ...]] = []
    hop_skip_jump(
        task.scores, task.pixels, task.labels, threat=LINF, queries=200, progress=lambda *said: told.append(said)
    )
    assert {said[0] for said in told} == {"hop-skip-jump"}
    assert [said[1] for said in told] == sorted(said[1] for said in told)
    assert told[-1][1:3] == (200, 200)
    empty = hop_skip_jump(task.scores, task.pixels[:0], task.labels[:0], threat=LINF)
    assert empty.adversarial.shape == task.pixels[:0].shape


@pytest.mark.parametrize(
    ("threat", "settings"),
    [
        (LINF, {"queries": 0}),
        (LINF, {"samples": 9}),
        (L2, {"noise": 0.5}),
        (L2, {"noise": math.nan}),
        (L2, {"noise": math.inf}),
        (ThreatModel("l1", 9.0), {}),
    ],
    ids=str,
)
def test_refused(task: Task, threat: ThreatModel, settings: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"expected: .*got: "):
        hop_skip_jump(task.scores, task.pixels, task.labels, threat=threat, **settings)


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_breaks_about_as_many_as_art(task: Task, threat: ThreatModel, art: Callable[[Task], Any]) -> None:
    few = slice(0, 14)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        from art.attacks.evasion import HopSkipJump

        classifier, predict, asked = art(task), art(task).predict, []

        def counted(x: NDArray[Any], *rest: Any, **named: Any) -> Any:
            asked.append(len(x))
            return predict(x.astype(np.float32), *rest, **named)  # ART hands on doubles

        classifier.predict = counted
        attack = HopSkipJump(
            classifier,
            norm="inf" if threat.norm == "linf" else 2,
            max_iter=3,
            max_eval=150,
            init_eval=30,
            verbose=False,
        )
        np.random.mtrand._rand.seed(0)  # what ART draws from
        found = attack.generate(task.x[few].numpy(), task.labels[few])
    theirs = ball_of(threat).to_pixels(torch.from_numpy(found).float(), torch.from_numpy(task.pixels[few])).numpy()
    queries = sum(asked) // 14
    assert queries > 150
    ours = hop_skip_jump(task.scores, task.pixels[few], task.labels[few], threat=threat, queries=queries)
    broken = [(task.scores(images).argmax(1) != task.labels[few]).sum() for images in (ours.adversarial, theirs)]
    assert broken[0] >= max(broken[1] - 2, 1)
