"""The basic iterative method: FGSM in steps of one level of an 8-bit image.

Kurakin et al. 2017 (arXiv:1607.02533, section 2.2), with L = 255 epsilon levels:

    x_0 = x,   x_{t+1} = Clip_{x, epsilon}( x_t + alpha sign( grad_x l(f(x_t), y) ) ),   alpha = 1 / 255
    min(L + 4, 1.25 L) steps

That is PGD from x itself with the paper's step and number of steps, and early stop. With a target: their "iterative
least-likely class" is the same towards that class.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ....runtime.errors import RecipeError
from ....runtime.shapes import Float, Int64
from ..access import Model
from ..threat.threat_model import ThreatModel
from .pgd import pgd

__all__ = ["bim"]


def bim(
    model: Model,
    x: Float[Tensor, "n c h w"],
    y: Int64[Tensor, " n"],
    *,
    threat: ThreatModel,
    loss: Literal["ce", "margin", "dlr"] = "ce",
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> Float[Tensor, "n c h w"]:
    """`pgd` as above, in linf alone. See `Attack`; nothing is random, so `generator` is not used.

    Args:
        loss: see `pgd`.
    """
    if threat.norm != "linf":
        raise RecipeError(
            "bim searches linf balls only",
            expected="a threat model such as linf:8/255",
            got=str(threat),
            fix="use pgd, which takes the step as a setting",
        )
    levels = 255 * threat.epsilon
    return pgd(
        model,
        x,
        y,
        threat=threat,
        steps=max(round(min(levels + 4, 1.25 * levels)), 1),
        step_size=1 / 255,
        random_start=False,
        loss=loss,
        generator=generator,
        batch_size=batch_size,
    )
