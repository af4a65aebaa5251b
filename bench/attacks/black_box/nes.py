"""Projected gradient ascent on a gradient that is estimated from scores: natural evolution strategies.

Ilyas et al. 2018 (arXiv:1804.08598), algorithm 1 and section 2.1. With u_i ~ N(0, I) and antithetic pairs,

    g = 1 / (2 n sigma) sum_{i=1..n} ( L(x + sigma u_i) - L(x - sigma u_i) ) u_i
    m <- momentum m + (1 - momentum) g / ||g||_2,     x <- project( x + step_size direction(m) )

direction(m) is sign(m) for linf and m / ||m|| for l2. Estimates are brought to one length first: the margin is steeper
at some points than at others, and a steep one would outweigh the rest. L is the margin of the logits; the paper raises
a probability, which a saturated softmax rounds to 0 or 1.

Every query is an 8-bit image, so x +- sigma u is rounded to whole levels and cut to [0, 255], and what is multiplied is
half the way between the two images that were really asked about. The paper's sigma, 0.001, is a quarter of a level, and
logits of an INT8 engine are constant between levels: here sigma is several levels. The queries for an estimate may lie
outside the ball; the points that are checked lie inside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....runtime.errors import RecipeError
from ....runtime.progress import ProgressCallback, silent
from ....runtime.shapes import Float, Int64
from ..access import Labels, Pixels, Scores
from ..result import AttackResult
from ..threat.geometry import Ball, ball_of
from ..threat.threat_model import ThreatModel
from .score_ascent import ASKED_AT_ONCE, Margin, ScoreAscent, refuse_l1

__all__ = ["nes"]


def nes(
    scores: Scores,
    images: Pixels,
    labels: Labels,
    *,
    threat: ThreatModel,
    queries: int = 5000,
    samples: int = 20,
    sigma: float = 8 / 255,
    step_size: float | None = None,
    momentum: float = 0.8,
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> AttackResult:
    """Ascent on estimated gradients, in linf or l2. See `BlackBoxAttack`.

    Args:
        queries: a step takes `samples`, and one that checks where it led.
        samples: images asked about for one estimate, even, 2 or more.
        sigma: standard deviation of the noise, in units of pixel values, at least a level: 1/255.
        step_size: length of a step in the norm; a quarter of the radius if not given.
        momentum: share of the estimates before, in [0, 1).

    Returns:
        For an image that was not broken, the point of largest margin.
    """
    refuse_l1("nes", threat)
    step_size = threat.epsilon / 4 if step_size is None else step_size
    if (
        samples < 2
        or samples % 2
        or not (1 / 255 <= sigma < math.inf and 0 <= step_size < math.inf and 0 <= momentum < 1)
    ):
        raise RecipeError(
            "settings of nes out of range",
            expected="samples even and >= 2, finite sigma >= 1/255 and step_size >= 0, 0 <= momentum < 1",
            got=f"samples {samples}, sigma {sigma}, step_size {step_size}, momentum {momentum}",
        )
    settings = {"seed": seed, "samples": samples, "sigma": sigma, "step_size": step_size, "momentum": momentum}
    search = ScoreAscent(
        name="nes",
        rule=_Estimate(
            queries=samples,
            levels=255 * sigma,
            step_size=step_size,
            momentum=momentum,
            ball=ball_of(threat),
            rng=np.random.default_rng(seed),
            mean=torch.zeros(images.shape),
        ),
        threat=threat,
        queries=queries,
        settings=settings,
    )
    return search.run(scores, images, labels, progress)


@dataclass(kw_only=True, slots=True)
class _Estimate:
    queries: int
    levels: float  # sigma
    step_size: float
    momentum: float
    ball: Ball
    rng: np.random.Generator
    mean: Tensor  # m, float [N, C, H, W]

    def step(
        self, margin: Margin, pixels: Pixels, x_adv: Float[Tensor, "n c h w"], rows: Int64[NDArray[np.int64], " n"]
    ) -> Float[Tensor, "n c h w"]:
        grad = torch.zeros_like(x_adv)
        pairs, left = max(ASKED_AT_ONCE // (2 * len(rows)), 1), self.queries // 2
        while left:
            noise = self.levels * self.rng.standard_normal((min(pairs, left), *pixels.shape), np.float32)
            asked = np.concatenate([_eight_bit(pixels + noise), _eight_bit(pixels - noise)])
            up, down = torch.from_numpy(asked.astype(np.float32)).chunk(2)
            gain = torch.sub(*margin(asked).chunk(2))
            grad += torch.einsum("gn,gnchw->nchw", gain, (up - down) / 2)
            left -= len(noise)
        grad /= grad.flatten(1).norm(dim=1).clamp_(min=torch.finfo(grad.dtype).tiny).view(-1, 1, 1, 1)
        mean = self.mean[rows] = self.momentum * self.mean[rows] + (1 - self.momentum) * grad
        return self.ball.step(x_adv, mean, self.step_size)


def _eight_bit(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(levels).clip(0, 255).astype(np.uint8)
