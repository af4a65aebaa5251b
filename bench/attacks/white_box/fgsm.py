"""The fast gradient sign method: one step of PGD.

    x_adv = Proj_{B(x, epsilon)}( x_0 + alpha sign( grad_{x_0} l(f(x_0), y) ) )

FGSM      one step of alpha = epsilon from x                              (Goodfellow et al. 2015, arXiv:1412.6572)
FGSM-RS   one step of alpha = 1.25 epsilon from a random point            (Wong et al. 2020, arXiv:2001.03994)
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ....runtime.shapes import Float, Int64
from ..access import Model
from ..threat.threat_model import ThreatModel
from .pgd import pgd

__all__ = ["fgsm"]


def fgsm(
    model: Model,
    x: Float[Tensor, "n c h w"],
    y: Int64[Tensor, " n"],
    *,
    threat: ThreatModel,
    random_start: bool = False,
    step_size: float | None = None,
    loss: Literal["ce", "margin", "dlr"] = "ce",
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> Float[Tensor, "n c h w"]:
    """One step of `pgd` without early stop: one forward and one backward pass. See `Attack`.

    Args:
        random_start: x_0 is random in the ball instead of x.
        step_size: alpha; epsilon if not given, and 1.25 epsilon with a random start, as in Wong et al. 2020.
        loss: see `pgd`.
    """
    if step_size is None:
        step_size = threat.epsilon * (1.25 if random_start else 1)
    return pgd(
        model,
        x,
        y,
        threat=threat,
        steps=1,
        step_size=step_size,
        random_start=random_start,
        loss=loss,
        generator=generator,
        early_stop=False,
        batch_size=batch_size,
    )
