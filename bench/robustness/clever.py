"""CLEVER: a lower bound of the minimal perturbation, estimated from gradients. No attack; an estimate, not a proof.

Weng et al. 2018 (arXiv:1801.10578, theorem 3.2 and algorithms 1 and 2). With c the predicted class and g_j = z_c - z_j,

    score = min_j min( g_j(x) / L_j, R ),     L_j = max_{x' in B_p(x, R)} ||grad g_j(x')||_q,   1/p + 1/q = 1

The maximum is the location of a reverse Weibull distribution, G(t) = exp(-((L - t) / b)^k) for t <= L, fitted by
maximum likelihood to the largest gradient norms of `batches` samples of `samples` points, uniform in the ball; the
paper takes 500 batches of 1024. For a given L the likeliest k solves

    sum d^k ln d / sum d^k - 1 / k - mean ln d = 0,     d = L - t,     b^k = mean d^k

so L is all that is searched, where 1 < k <= 50: below, the likelihood has no bound; beyond, the maxima look like those
of a Gumbel distribution, which has no end. Without a best L in between, L is the largest norm seen, and the score too
high.

As the gradients of a quantized network are straight-through estimates, its score is that of the smooth network they
belong to. Goodfellow 2018 (arXiv:1804.07870) shows that masked gradients make it too high: never report it without
attacks.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...runtime.errors import RecipeError
from ..attacks.access import Model
from ..attacks.threat.geometry import ball_of
from ..attacks.threat.norms import dual_length
from ..attacks.threat.threat_model import ThreatModel
from ..attacks.white_box.boundaries import heights_and_normals, likeliest, towards
from ..attacks.white_box.gradient import frozen, logits_of

__all__ = ["clever", "reverse_weibull_location"]

_GAPS = np.geomspace(1e-4, 1e2, 200)
"""How far the end may lie beyond the largest maximum, in ranges of the maxima."""
_ENDLESS = 50.0
"""The largest shape that counts."""
_SAME = 1e-5
"""Norms that differ by less, relatively, are one number with rounding errors: the model is linear there."""


def clever(
    model: Model,
    x: Tensor,
    *,
    threat: ThreatModel,
    batches: int = 50,
    samples: int = 128,
    candidates: int = 9,
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> Tensor:
    """The CLEVER score of each image.

    Args:
        model: float [N, C, H, W] in [0, 1] -> logits [N, K]; differentiable, held in evaluation mode meanwhile.
        x: float [N, C, H, W] in [0, 1].
        threat: the ball that is sampled, cut to [0, 1]; its radius is the largest score. With a target, the score is
            that towards it, 0 where it is predicted already.
        batches: maxima that the distribution is fitted to, at least 2.
        samples: points of which each is the largest, at least 1.
        candidates: how many classes, the likeliest other ones; at most K - 1 are used. One backward pass a point each.
        generator: makes the points, and so the result, reproducible.
        batch_size: points a pass.

    Returns:
        float64 [N], lengths in the threat model's norm.

    Raises:
        RecipeError: settings out of range.
        ModelError: the target is no class of the model, or the model has no gradient.
    """
    if batches < 2 or min(samples, candidates) < 1:
        raise RecipeError(
            "settings of clever out of range",
            expected="batches >= 2, samples >= 1, candidates >= 1",
            got=f"{batches}, {samples}, {candidates}",
        )
    with frozen(model):
        y = logits_of(model, x, batch_size).argmax(1)
        scores = [
            _score(
                model,
                image,
                label,
                threat=threat,
                maxima=(batches, samples),
                candidates=candidates,
                generator=generator,
                batch_size=batch_size,
            )
            for image, label in zip(x.unsqueeze(1), y.unsqueeze(1), strict=True)
        ]
    return torch.tensor(scores, dtype=torch.float64)


def _score(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    threat: ThreatModel,
    maxima: tuple[int, int],
    candidates: int,
    generator: torch.Generator | None,
    batch_size: int,
) -> float:
    """Of one image [1, C, H, W] of the predicted class y [1]."""
    logits = logits_of(model, x, batch_size)
    boundaries, classes = likeliest(logits, y, candidates, threat)
    boundaries(logits, y, classes)  # refuses a target that is no class
    batches, samples = maxima

    def look(points: Tensor) -> tuple[Tensor, Tensor]:
        many = len(points)
        _, heights, normals = heights_and_normals(
            model, points, y.expand(many), classes.expand(many, -1), boundaries=towards, batch_size=batch_size
        )
        return heights, dual_length(normals, threat.norm)

    heights, _ = look(x)
    if (heights >= 0).any():
        return 0.0
    slopes = [
        look(_uniform(x.expand(min(batch_size, batches * samples - start), -1, -1, -1), threat, generator))[1]
        for start in range(0, batches * samples, batch_size)
    ]
    largest = torch.cat(slopes).view(batches, samples, -1).amax(1).double().cpu().numpy()  # [batches, J]
    lipschitz = [reverse_weibull_location(column) for column in largest.T]
    gaps = (-heights[0]).tolist()
    distances = [gap / slope if slope > 0 else np.inf for gap, slope in zip(gaps, lipschitz, strict=True)]
    return float(min(*distances, threat.epsilon))


def _uniform(x: Tensor, threat: ThreatModel, generator: torch.Generator | None) -> Tensor:
    """Points uniform in the ball around x, clipped to [0, 1]."""
    if threat.norm != "l1":
        return ball_of(threat).random_start(x, generator)
    # One more exponential variable than dimensions: their shares are uniform in the simplex, not only on its face.
    shape = len(x), x[0].numel() + 1
    device = x.device if generator is None else generator.device
    shares = torch.empty(shape, dtype=x.dtype, device=device).exponential_(generator=generator)
    shares = shares / shares.sum(1, keepdim=True)
    signs = torch.randint(0, 2, (shape[0], shape[1] - 1), generator=generator, device=device) * 2 - 1
    return (x + (threat.epsilon * signs * shares[:, 1:]).view_as(x).to(x.device)).clamp(0, 1)


def reverse_weibull_location(maxima: NDArray[np.float64]) -> float:
    """Where the distribution ends that these maxima [N], N >= 2, were drawn from; the largest where all are equal."""
    top, spread = float(maxima.max()), float(np.ptp(maxima))
    if spread <= _SAME * top:
        return top
    # How far below the end each maximum lies, for every end that is tried, as a share of the farthest.
    depths = (top - maxima) / spread + _GAPS[:, None]
    farthest = depths.max(1)
    logs = np.log(depths / farthest[:, None])
    low, high = np.zeros(len(_GAPS)), np.full(len(_GAPS), np.log(2 * _ENDLESS))
    for _ in range(25):  # the likeliest shape for each end, to seven digits: its equation rises with k
        shape = np.exp((low + high) / 2)
        powers = np.exp(shape[:, None] * logs)
        rises = (powers * logs).sum(1) / powers.sum(1) - 1 / shape - logs.mean(1) < 0
        low, high = np.where(rises, (low + high) / 2, low), np.where(rises, high, (low + high) / 2)
    likelihood = np.log(shape) - np.log(powers.mean(1)) + (shape - 1) * logs.mean(1) - np.log(farthest)
    likelihood[(low == 0) | (shape > _ENDLESS)] = -np.inf
    best = int(likelihood.argmax())
    ended = np.isfinite(likelihood[best]) and best + 1 < len(_GAPS) and np.isfinite(likelihood[best + 1])
    return top + float(_GAPS[best]) * spread if ended else top
