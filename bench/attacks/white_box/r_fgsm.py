"""R+FGSM: a random step away from the image, where a masked gradient may be flat or wrong, then one of FGSM.

Tramer et al. 2018 (arXiv:1705.07204):

    x'    = x  + alpha sign( N(0, I) )
    x_adv = x' + (epsilon - alpha) sign( grad_x' l(f(x'), y) )

In l2 and l1 both steps are the norm's own (`Ball.step`) instead of the sign.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ....runtime.errors import RecipeError
from ....runtime.shapes import Float, Int64
from ..access import Model
from ..losses import objective
from ..threat.geometry import ball_of
from ..threat.threat_model import ThreatModel
from .gradient import frozen, logits_and_gradient

__all__ = ["r_fgsm"]


def r_fgsm(
    model: Model,
    x: Float[Tensor, "n c h w"],
    y: Int64[Tensor, " n"],
    *,
    threat: ThreatModel,
    random_share: float = 0.5,
    loss: Literal["ce", "margin", "dlr"] = "ce",
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> Float[Tensor, "n c h w"]:
    """One random step and one gradient step: one forward and one backward pass. See `Attack`.

    Args:
        random_share: alpha / epsilon, in [0, 1]; one half in the paper.
        loss: see `pgd`.
    """
    if not 0 <= random_share <= 1:
        raise RecipeError("random_share of r_fgsm out of range", expected="0 to 1", got=repr(random_share))
    ball, alpha = ball_of(threat), random_share * threat.epsilon
    device = x.device if generator is None else generator.device
    noise = torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype).to(x.device)
    start = ball.project(ball.step(x, noise, alpha), x)
    result = x.clone()
    active = (torch.ones_like(y) if threat.target is None else y != threat.target).nonzero().squeeze(1)
    if len(active):
        start, x = start[active], x[active]
        with frozen(model):
            _, _, grad = logits_and_gradient(model, start, (y[active],), objective(loss, threat), batch_size)
        result[active] = ball.project(ball.step(start, grad, threat.epsilon - alpha), x)
    return result
