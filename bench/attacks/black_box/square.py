"""Square Attack: random search with squares on the scores alone, run on the deployed engine itself.

Andriushchenko et al. 2020 (arXiv:1912.00049), algorithm 1. Each query changes one square window of an image and keeps
the change if the margin max_{k != y} z_k - z_y rises, or with a target t the margin z_t - max_{k != t} z_k. The
window's side is round(sqrt(p h w)), where p starts at `p_init` and halves after 10, 50, 200, 500, 1000, 2000, 4000,
6000 and 8000 of 10000 queries, rescaled to `queries`.

Everything is 8-bit levels inside the ball, so every query is an image that a camera can deliver. What is tried is
drawn in `squares`; where the published evaluation code moves one window for the whole batch, here every image draws
its own, as in the paper.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch

from ....runtime.errors import RecipeError
from ....runtime.progress import ProgressCallback, silent
from ..access import Labels, Pixels, Scores
from ..losses import objective
from ..result import AttackResult
from ..threat.threat_model import ThreatModel
from .squares import squares_in

__all__ = ["square", "window_side"]


_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10000 queries


def square(
    scores: Scores,
    images: Pixels,
    labels: Labels,
    *,
    threat: ThreatModel,
    queries: int = 5000,
    p_init: float = 0.8,
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> AttackResult:
    """Random search on the scores. See `BlackBoxAttack`.

    Args:
        p_init: share of an image's pixels that the first windows cover, in (0, 1].

    Returns:
        For an image that was not broken, the point of highest margin.
    """
    if queries < 1 or not 0 < p_init <= 1:
        raise RecipeError(
            "settings of square out of range",
            expected="queries >= 1, 0 < p_init <= 1",
            got=f"queries {queries}, p_init {p_init}",
        )
    start = time.perf_counter()
    result = images.copy()
    evaluations = len(images)
    predictions = scores(images).argmax(1) if len(images) else labels
    active = np.flatnonzero(threat.attacked(predictions, labels))
    search = squares_in(threat, np.random.default_rng(seed))
    x, y = images[active], labels[active]
    raised = objective("margin", threat)
    best, margin = x, np.full(len(active), -np.inf, np.float32)
    for query in range(queries):
        if not len(active):
            break
        side = window_side(query - 1, queries, p_init, *images.shape[2:])
        candidate = search.start(x) if query == 0 else search.propose(x, best, side)
        logits = scores(candidate)
        evaluations += len(active)
        fooled = threat.fooled(logits.argmax(1), y)
        now = raised(torch.from_numpy(logits), torch.from_numpy(y)).numpy()
        better = (now > margin) | fooled
        best = np.where(better[:, None, None, None], candidate, best)
        margin = np.where(better, now, margin)
        if fooled.any():
            result[active[fooled]] = best[fooled]
            left = ~fooled
            active, x, y, best, margin = active[left], x[left], y[left], best[left], margin[left]
        if query % 50 == 0:
            progress("square", query, queries, f"{len(active)} of {len(images)} images unbroken")
    result[active] = best
    progress("square", queries, queries, f"{len(active)} of {len(images)} images unbroken")
    return AttackResult(
        name="square",
        settings={"threat": str(threat), "seed": seed, "queries": queries, "p_init": p_init},
        adversarial=result,
        seconds=time.perf_counter() - start,
        evaluations=evaluations,
    )


def window_side(iteration: int, queries: int, p_init: float, height: int, width: int) -> int:
    """Side of the square window at an iteration counted from 0, in pixels."""
    scaled = int(iteration / queries * 10000)
    p = p_init / 2 ** sum(scaled > halving for halving in _HALVINGS)
    return min(max(round(math.sqrt(p * height * width)), 1), height, width)
