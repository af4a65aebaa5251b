"""Votes of many answers, against counting by hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hardtemper.bench.robustness.votes import Votes, is_random, tally

PIXELS = np.zeros((3, 1, 2, 2), np.uint8)


def test_the_class_is_that_of_most_answers_and_not_of_the_largest_logit() -> None:
    answers = np.array([[[0, 1, -9]], [[0, 1, -9]], [[50, 0, -9]]], np.float32)
    scores = tally(answers)
    assert scores.argmax(1).tolist() == [1]
    np.testing.assert_array_equal((scores * 3).astype(int), [[1, 2, 0]])


def test_a_tie_goes_to_the_surer_and_a_nan_votes_for_nobody() -> None:
    answers = np.array([[[1, 0]], [[0, 9]], [[np.nan, 99]]], np.float32)
    scores = tally(answers)
    assert scores.argmax(1).tolist() == [1]
    assert (scores < 0.5).all()
    assert not np.isnan(scores).any()


def test_an_engine_is_random_if_it_answers_differently() -> None:
    rng = np.random.default_rng(0)

    def constant(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.ones((len(images), 4), np.float32) * np.arange(4, dtype=np.float32)

    def noisy(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return rng.normal(size=(len(images), 4)).astype(np.float32)

    def unordered(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return constant(images) + rng.normal(0, 1e-6, (len(images), 4)).astype(np.float32)

    def nowhere(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full((len(images), 4), np.nan, np.float32)

    assert is_random(noisy, PIXELS)
    assert not any(is_random(engine, PIXELS) for engine in (constant, unordered, nowhere))


def test_votes_of_a_sure_engine_are_its_answers() -> None:
    answer = np.array([[3.0, 1.0], [0.0, 2.0]], np.float32)
    assert Votes(lambda _: answer, 4)(PIXELS[:2]).argmax(1).tolist() == [0, 1]
