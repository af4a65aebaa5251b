"""WRM: the adversary of distributionally robust training, who pays for distance instead of staying in a ball.

Sinha et al. 2018 (arXiv:1710.10571, the robust surrogate phi_gamma with the cost ||x' - x||_2^2 / 2):

    sup_x'  l(f(x'), y) - gamma / 2 ||x' - x||_2^2

by gradient ascent with steps 1 / (gamma sqrt(t + 2)), t = 0, 1, ..., inside the box of images. For gamma above the
smoothness of the loss the problem is concave and the search exact. What it finds is then projected into the ball.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ....runtime.errors import RecipeError
from ....runtime.shapes import Float, Int64
from ..access import Model
from ..losses import objective
from ..threat.geometry import ball_of
from ..threat.threat_model import ThreatModel
from .gradient import frozen, logits_and_gradient, logits_of

__all__ = ["wrm"]


def wrm(
    model: Model,
    x: Float[Tensor, "n c h w"],
    y: Int64[Tensor, " n"],
    *,
    threat: ThreatModel,
    gamma: float,
    steps: int = 15,
    loss: Literal["ce", "margin", "dlr"] = "ce",
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> Float[Tensor, "n c h w"]:
    """Gradient ascent on the penalized loss. See `Attack`; nothing is random, so `generator` is not used.

    No search stops early: its points lie outside the ball until the last projection.

    Args:
        gamma: price of squared distance, in loss per squared pixel value, > 0.
        steps: gradient steps, at least 1.
        loss: see `pgd`.
    """
    if steps < 1 or not 0 < gamma < math.inf:
        raise RecipeError(
            "settings of wrm out of range",
            expected="steps >= 1, a finite gamma > 0",
            got=f"steps {steps}, gamma {gamma}",
        )
    result = x.clone()
    raised = objective(loss, threat)
    with frozen(model):
        active = threat.attacked(logits_of(model, x, batch_size).argmax(1), y).nonzero().squeeze(1)
        centre, labels = x[active], (y[active],)
        x_adv = centre
        for t in range(steps if len(active) else 0):
            _, _, grad = logits_and_gradient(model, x_adv, labels, raised, batch_size)
            x_adv = (x_adv + (grad / gamma - (x_adv - centre)) / math.sqrt(t + 2)).clamp_(0, 1)
    result[active] = ball_of(threat).project(x_adv, centre)
    return result
