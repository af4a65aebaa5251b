"""MultiTargeted: PGD towards each wrong class in turn, on plain differences of logits.

Gowal et al. 2019 (arXiv:1910.09338, algorithm 1): for each class t != y, from a random point, raise

    l_t(x') = z_t(x') - z_y(x')

Where the loss of the best wrong logit follows one class and gets stuck, another class may be within reach; for a model
that is linear inside the ball the classes together are exact. The steps are those of `pgd`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ....runtime.errors import RecipeError
from ....runtime.shapes import Float, Int64
from ..access import Model
from ..losses import margin_targeted, rivals
from ..threat.threat_model import ThreatModel
from .gradient import frozen, logits_of
from .pgd import Ascent

__all__ = ["multi_targeted"]


def multi_targeted(
    model: Model,
    x: Float[Tensor, "n c h w"],
    y: Int64[Tensor, " n"],
    *,
    threat: ThreatModel,
    steps: int,
    step_size: float,
    restarts: int = 1,
    targets: int = 9,
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> Float[Tensor, "n c h w"]:
    """Search towards the likeliest wrong classes, one after the other. See `Attack`; the threat model has no target.

    Args:
        steps: gradient steps a search, at least 1.
        step_size: in the units of `threat.epsilon`.
        restarts: random points for each class.
        targets: how many wrong classes, likeliest first; at most K - 1 are used.

    Returns:
        For an image that was not broken, the last search's last iterate.
    """
    if steps < 1 or restarts < 1 or targets < 1 or not 0 <= step_size < math.inf:
        raise RecipeError(
            "settings of multi_targeted out of range",
            expected="steps >= 1, restarts >= 1, targets >= 1, a finite step_size >= 0",
            got=f"steps {steps}, restarts {restarts}, targets {targets}, step_size {step_size}",
        )
    if threat.target is not None:
        raise RecipeError(
            "multi_targeted chooses the classes it aims at itself",
            expected="a threat model without a target",
            got=str(threat),
            fix="use pgd with the loss margin, or apgd, which aim at the threat model's target",
        )
    result = x.clone()
    ascent = Ascent(
        model=model,
        threat=threat,
        loss=margin_targeted,
        steps=steps,
        step_size=step_size,
        random_start=True,
        generator=generator,
        batch_size=batch_size,
    )
    with frozen(model):
        logits = logits_of(model, x, batch_size)
        active = threat.attacked(logits.argmax(1), y).nonzero().squeeze(1)
        likeliest = rivals(logits, y).topk(min(targets, logits.shape[1] - 1), dim=1).indices
        for target in likeliest.unbind(1):
            for _ in range(restarts):
                if not len(active):
                    return result
                x_adv, done = ascent.search(x[active], (y[active], target[active]), stop="early and at the end")
                result[active] = x_adv
                active = active[~done]
    return result
