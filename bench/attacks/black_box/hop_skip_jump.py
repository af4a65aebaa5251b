"""HopSkipJump: an adversarial search that sees the engine's answers alone, no scores.

Chen, Jordan & Wainwright 2020 (arXiv:1904.02144), algorithm 2. From an image x'_t that fools, t = 1, 2, ...

    x_t   = x'_t projected on the ball, if that fools; else the boundary between x and x'_t, by bisection (`decisions`)
    g     = sum_{b <= B_t} ( phi_b - mean phi ) d_b,   phi_b = +-1: does x_t + d_b fool?,   B_t = B_0 sqrt(t)
    x'_t+1 = x_t + xi direction(g),   xi = ||x_t - x||_p / sqrt(t), halved until it fools

direction(g) is g / ||g||_2 for l2 and sign(g) for linf; d_b is normal noise for l2, uniform noise for linf.

Every query is an 8-bit image, and d_b is the noise after rounding. The paper's noise is 1 / d of the distance, far
below a level, and rounding would leave nothing. Here its standard deviation is `noise` levels. The search starts far
away: queries lie outside the ball until one lies inside, which then is the result.

The search starts from the nearest given image that the engine takes for another class (for the target, if there is
one), which costs no query. Where there is none, it starts from uniform noise. So the images that are attacked together
decide an image's start and its share of one stream of random numbers, but not how many samples it takes.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ....runtime.errors import RecipeError
from ....runtime.progress import ProgressCallback, silent
from ....runtime.shapes import Int64
from ..access import Labels, Pixels, Scores
from ..result import AttackResult
from ..threat.geometry import ball_of
from ..threat.threat_model import ThreatModel
from .decisions import Decisions, Rows, bisect, distance
from .score_ascent import ASKED_AT_ONCE, refuse_l1

__all__ = ["hop_skip_jump"]

_NOISE_STARTS = 100
"""Queries spent at most on uniform noise as a start, as in the published code."""

_FEWEST = 10
"""Samples below which an estimate is not worth its queries."""


def hop_skip_jump(
    scores: Scores,
    images: Pixels,
    labels: Labels,
    *,
    threat: ThreatModel,
    queries: int = 5000,
    samples: int = 30,
    noise: float = 5.0,
    early_stop: bool = True,
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> AttackResult:
    """Search with the engine's decisions, in linf or l2. See `BlackBoxAttack`.

    Of the scores, only which one is largest is looked at.

    Args:
        samples: B_0, for the first estimate of the boundary's normal, 10 or more.
        noise: standard deviation of the samples, in levels of 1/255, 1 or more.
        early_stop: be content with the first candidate in the ball; False to come as near as the queries allow.

    Returns:
        The nearest adversarial image found; where that is outside the ball, its projection.

    Raises:
        RecipeError: also where the threat model has a target that the engine takes none of the images for.
    """
    refuse_l1("hop-skip-jump", threat)
    if queries < 1 or samples < _FEWEST or not 1 <= noise < math.inf:
        raise RecipeError(
            "settings of hop-skip-jump out of range",
            expected=f"queries >= 1, samples >= {_FEWEST}, a finite noise >= 1",
            got=f"queries {queries}, samples {samples}, noise {noise}",
        )
    start = time.perf_counter()
    decisions = Decisions(scores, labels, threat, queries)
    search = _Search(
        decisions=decisions, threat=threat, rng=np.random.default_rng(seed), noise=noise, early_stop=early_stop
    )
    answers = scores(images).argmax(1) if len(images) else labels[:0]
    rows = np.flatnonzero(threat.attacked(answers, labels))
    present, nearest, best = images.copy(), images.copy(), np.full(len(images), np.inf)
    rows = search.start(images, labels, answers, rows, into=present)
    # Kept back from an estimate for the step and the bisection after it.
    reserve = 8 + math.ceil(math.log2(255 * math.prod(images.shape[1:])))
    for step in range(1, queries + 1):
        if not len(rows):
            break
        present[rows] = search.approach(present[rows], images[rows], rows)
        moved = distance(present[rows], images[rows], threat.norm)
        nearer = rows[moved < best[rows]]
        nearest[nearer] = present[nearer]
        best[rows] = np.minimum(best[rows], moved)
        done = threat.contains(present[rows], images[rows]) & early_stop
        rows = rows[(decisions.left[rows] >= reserve + _FEWEST) & ~done]
        if len(rows):
            left = decisions.left[rows]
            progress(
                "hop-skip-jump", queries - int(left.min()), queries, f"{len(rows)} of {len(images)} images searched"
            )
            counts = np.minimum(int(samples * math.sqrt(step)), left - reserve)
            normal = search.normal(present[rows], rows, counts)
            present[rows] = search.jump(present[rows], images[rows], normal, rows, step)
    progress("hop-skip-jump", queries, queries, f"{len(rows)} of {len(images)} images searched")
    adversarial = ball_of(threat).to_pixels(torch.from_numpy(nearest).float() / 255, torch.from_numpy(images)).numpy()
    return AttackResult(
        name="hop-skip-jump",
        settings={
            "threat": str(threat),
            "seed": seed,
            "queries": queries,
            "samples": samples,
            "noise": noise,
            "early_stop": early_stop,
        },
        adversarial=adversarial,
        seconds=time.perf_counter() - start,
        evaluations=len(images) + int((queries - decisions.left).sum()),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Search:
    decisions: Decisions
    threat: ThreatModel
    rng: np.random.Generator
    noise: float
    early_stop: bool

    def start(
        self, images: Pixels, labels: Labels, answers: Labels, rows: Rows, *, into: Pixels
    ) -> Int64[NDArray[np.int64], " left"]:
        """Write an image that fools for each of `rows` into `into`; return the rows for which there is one."""
        target = self.threat.target
        if target is not None and len(rows) and not (answers == target).any():
            raise RecipeError(
                f"hop-skip-jump has nothing to start from towards class {target}",
                expected="at least one image that the engine takes for it",
                got=f"{len(images)} images, none of them",
                fix="attack more images together, of all classes",
            )
        flat = images.reshape(len(images), math.prod(images.shape[1:])).astype(np.float32)
        squares = np.square(flat).sum(1)
        lacking = np.zeros(len(images), bool)
        for row in rows:
            others = np.flatnonzero(self.threat.fooled(answers, labels[row]))
            if len(others):
                into[row] = images[others[np.argmin(squares[others] - 2 * flat[others] @ flat[row])]]
            else:
                lacking[row] = True
        tried = np.flatnonzero(lacking)
        for _ in range(_NOISE_STARTS):
            if not len(tried):
                break
            drawn = self.rng.integers(0, 256, (len(tried), *images.shape[1:]), np.uint8)
            fooled = self.decisions.fooled(drawn, tried)
            into[tried[fooled]] = drawn[fooled]
            tried = tried[~fooled]
        return np.setdiff1d(rows, tried)

    def approach(self, far: Pixels, x: Pixels, rows: Rows) -> Pixels:
        """Adversarial images nearer to x than `far`: in the ball, if the projection still fools, or at the boundary."""
        near: Pixels = far.copy()
        outside = np.flatnonzero(~self.threat.contains(far, x))
        projected = (
            ball_of(self.threat)
            .to_pixels(torch.from_numpy(far[outside]).float() / 255, torch.from_numpy(x[outside]))
            .numpy()
        )
        fooled = self.decisions.fooled(projected, rows[outside])
        near[outside[fooled]] = projected[fooled]
        on = np.flatnonzero(~(self.threat.contains(near, x) & self.early_stop))
        near[on] = bisect(self.decisions, x[on], near[on], rows[on], norm=self.threat.norm, rng=self.rng)
        return near

    def normal(self, present: Pixels, rows: Rows, counts: NDArray[np.int64]) -> NDArray[np.float32]:
        """The boundary's normal at `present`, towards where the engine is fooled, from `counts` [N] samples."""
        agreed = np.zeros((len(rows), 1, 1, 1), np.float32)  # sum of phi
        moves, both = np.zeros(present.shape, np.float32), np.zeros(present.shape, np.float32)  # sums of d and phi d
        at_once = max(ASKED_AT_ONCE // len(rows), 1)
        for first in range(0, most := int(counts.max()), at_once):
            shape = (min(at_once, most - first), *present.shape)
            if self.threat.norm == "linf":
                drawn = self.rng.random(shape, np.float32) * np.float32(2 * math.sqrt(3)) - np.float32(math.sqrt(3))
            else:
                drawn = self.rng.standard_normal(shape, np.float32)
            asked = np.rint(present + np.float32(self.noise) * drawn).clip(0, 255).astype(np.uint8)
            # An image with few queries left takes fewer samples, the others theirs.
            taken = np.arange(first, first + len(asked))[:, None] < counts
            phi = np.zeros((*taken.shape, 1, 1, 1), np.float32)
            fooled = self.decisions.fooled(asked[taken], np.broadcast_to(rows, taken.shape)[taken])
            phi[taken, 0, 0, 0] = np.where(fooled, 1, -1)
            d = np.where(taken[:, :, None, None, None], asked.astype(np.float32) - present, np.float32(0))
            agreed, moves, both = agreed + phi.sum(0), moves + d.sum(0), both + (phi * d).sum(0)
        count = counts.astype(np.float32).reshape(-1, 1, 1, 1)
        # Where all samples agree, the mean takes everything away; what they say together is left.
        return np.asarray(np.where(np.abs(agreed) == count, both, both - agreed / count * moves), np.float32)

    def jump(self, present: Pixels, x: Pixels, normal: NDArray[np.float32], rows: Rows, step: int) -> Pixels:
        """The farthest of the steps along the normal that still fools; where none does, `present` itself."""
        if self.threat.norm == "linf":
            direction = np.sign(normal)
        else:
            length = np.sqrt(np.square(normal).sum((1, 2, 3), keepdims=True))
            direction = normal / np.maximum(length, np.finfo(np.float32).tiny)
        size = distance(present, x, self.threat.norm) / math.sqrt(step)
        result: Pixels = present.copy()
        tried = np.arange(len(rows))
        while len(tried):
            moved = size[tried].reshape(-1, 1, 1, 1) * direction[tried]
            candidate: Pixels = np.rint(present[tried] + moved).clip(0, 255).astype(np.uint8)
            fooled = self.decisions.fooled(candidate, rows[tried])
            result[tried[fooled]] = candidate[fooled]
            size[tried] /= 2
            moves = size[tried] * np.abs(direction[tried]).max((1, 2, 3)) >= 0.5
            tried = tried[~fooled & moves & (self.decisions.left[rows[tried]] > 0)]
        return result
