"""The vote of many answers of an engine that draws random numbers. Needs numpy alone.

    s_k = ( #{ d <= D : argmax f_d(x) = k } + 1/2D sum_d softmax(f_d(x))_k ) / D

The first term is the share of the votes. The second is less than one vote's weight: it settles a tie, and tells a
search by scores in which direction the votes go. An answer with a NaN votes for no class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...runtime.shapes import Float32

__all__ = ["Votes", "tally"]


def tally(answers: Float32[NDArray[np.float32], "d n k"]) -> Float32[NDArray[np.float32], "n k"]:
    """The scores of images by D answers to each: shares of votes, and less than one vote's weight of mean softmax."""
    draws, _, classes = answers.shape
    votes = np.zeros(answers.shape[1:], np.float64)
    sure = np.zeros(answers.shape[1:], np.float64)
    for answer in answers:
        counts = ~np.isnan(answer).any(1, keepdims=True)
        votes += np.eye(classes)[answer.argmax(1)] * counts
        exponent = np.nan_to_num(answer.astype(np.float64))
        share = np.exp(exponent - exponent.max(1, keepdims=True))
        sure += share / share.sum(1, keepdims=True) * counts
    scores: NDArray[np.float32] = ((votes + sure / (2 * draws)) / draws).astype(np.float32)
    return scores


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """An engine that is asked `draws` times: uint8 [N, C, H, W] -> scores [N, K]."""

    engine: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    draws: int

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return tally(np.stack([self.engine(images) for _ in range(self.draws)]))
