"""What a decision-based attack may ask an engine: whether an image fools it, up to a number of queries.

Between an image x and an adversarial one x' lies a boundary, which a bisection finds on 8-bit images:

    l2      q(s) = x + sign(x' - x) floor( s |x' - x| + t )
    linf    q(s) = x' clipped to x +- floor( s ||x' - x||_inf + t )

with t drawn from [0, 1) for each pixel; q(0) = x, q(1) = x'. One t for all pixels would be too coarse. All would move
by a level at once, farther across the boundary than the noise of an estimate reaches. With a t for each, pixels move
one by one.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ....runtime.shapes import Bool, Float32, Float64, Int64, UInt8
from ..access import Labels, Pixels, Scores
from ..threat.norms import length
from ..threat.threat_model import Norm, ThreatModel

__all__ = ["Candidates", "Decisions", "Rows", "between", "bisect", "distance"]

_HALVINGS = 32
"""Of an interval [0, 1]; pixels come one by one well before."""

Rows = Int64[NDArray[np.int64], " m"]
"""Which images, of all that are attacked."""


Candidates = UInt8[NDArray[np.uint8], "m c h w"]
"""8-bit images, one for each row."""


class Decisions:
    """Asks the engine, and stops asking about an image whose queries are spent.

    Args:
        scores: the engine.
        labels: the right classes.
        threat: what counts as fooled.
        queries: the most that one image may take.

    Attributes:
        left: int64 [N], what each image has left.
    """

    def __init__(self, scores: Scores, labels: Labels, threat: ThreatModel, queries: int) -> None:
        self._scores, self._labels, self._threat = scores, labels, threat
        self.left = np.full(len(labels), queries, np.int64)

    def fooled(self, candidates: Candidates, rows: Rows) -> Bool[NDArray[np.bool_], " m"]:
        """Whether candidates fool the engine; no, where the queries are spent.

        Args:
            candidates: 8-bit images.
            rows: which of the N images each belongs to; an image may come several times.
        """
        order = np.argsort(rows, kind="stable")
        first = np.searchsorted(rows[order], rows[order])
        turn = np.empty(len(rows), np.int64)
        turn[order] = np.arange(len(rows)) - first  # how often the image came before
        asked = np.flatnonzero(turn < self.left[rows])
        answer = np.zeros(len(rows), bool)
        if len(asked):
            answers = self._scores(candidates[asked]).argmax(1)
            answer[asked] = self._threat.fooled(answers, self._labels[rows[asked]])
            np.subtract.at(self.left, rows[asked], 1)
        return answer


def distance(a: Pixels, b: Pixels, norm: Norm) -> Float64[NDArray[np.float64], " n"]:
    """In levels: the largest move of a pixel, or the Euclidean length of all moves."""
    # Sums of whole numbers are exact in float64, in any order.
    found: NDArray[np.float64] = length(torch.from_numpy(a.astype(np.float64) - b).flatten(1), norm).numpy()
    return found


def between(
    x: Pixels,
    far: Pixels,
    share: Float64[NDArray[np.float64], " n"],
    offsets: Float32[NDArray[np.float32], "n c h w"],
    norm: Norm,
) -> Pixels:
    """q(share) of the module's rule.

    Args:
        x: the images.
        far: what is at the other end.
        share: s, in [0, 1].
        offsets: t, in [0, 1).
        norm: "linf" or "l2".
    """
    s, moves = share.reshape(-1, 1, 1, 1), far.astype(np.float64) - x
    size = np.abs(moves)
    reach = size.max((1, 2, 3), keepdims=True) if norm == "linf" else size
    return np.asarray(x + np.sign(moves) * np.minimum(size, np.floor(s * reach + offsets)), np.uint8)


def bisect(
    decisions: Decisions, x: Candidates, far: Candidates, rows: Rows, *, norm: Norm, rng: np.random.Generator
) -> Candidates:
    """Adversarial images next to the boundary between `x` and the adversarial `far`.

    Args:
        decisions: the engine.
        x: the original images.
        far: adversarial ones.
        rows: which images these are.
        norm: "linf" or "l2".
        rng: draws the offsets t.
    """
    found: Pixels = far.copy()  # q(high)
    near: Pixels = x.copy()  # q(low)
    low, high = np.zeros(len(x)), np.ones(len(x))
    offsets = rng.random(x.shape, np.float32)
    searched = np.arange(len(x))
    for _ in range(_HALVINGS):
        apart = np.abs(found[searched].astype(np.int16) - near[searched]).sum((1, 2, 3), dtype=np.int64)
        searched = searched[(apart > 1) & (decisions.left[rows[searched]] > 0)]
        if not len(searched):
            break
        middle = (low[searched] + high[searched]) / 2
        candidate = between(x[searched], far[searched], middle, offsets[searched], norm)
        fooled = (candidate == found[searched]).all((1, 2, 3))  # known without asking, as is q(low)
        new = ~fooled & (candidate != near[searched]).any((1, 2, 3))
        fooled[new] = decisions.fooled(candidate[new], rows[searched[new]])
        high[searched[fooled]], low[searched[~fooled]] = middle[fooled], middle[~fooled]
        found[searched[fooled]], near[searched[~fooled]] = candidate[fooled], candidate[~fooled]
    return found
