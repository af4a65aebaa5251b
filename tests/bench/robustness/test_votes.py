"""Votes of many answers, against counting by hand."""

from __future__ import annotations

import numpy as np

from hardtemper.bench.robustness.votes import Votes, tally

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


def test_votes_of_a_sure_engine_are_its_answers() -> None:
    answer = np.array([[3.0, 1.0], [0.0, 2.0]], np.float32)
    assert Votes(lambda _: answer, 4)(PIXELS[:2]).argmax(1).tolist() == [0, 1]
