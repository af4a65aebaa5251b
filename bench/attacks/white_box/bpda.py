"""BPDA: Auto-PGD along the gradient of a smoother network, for those that hide behind their clamps.

    forward   f(x)          backward   grad g(x),   g near f and differentiable

Backward pass differentiable approximation (Athalye et al. 2018, arXiv:1802.00420, section 4.1). Here g is f with closed
clamps that leak (`export/twin/gradients.py`): ReLU, and the saturation of integers. A unit that is off for an image and
everything around it has no gradient, so plain searches never learn what would switch it on.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ....export.twin.gradients import leaking
from ....runtime.errors import RecipeError
from ....runtime.shapes import Float, Int64
from ..access import Model
from ..threat.threat_model import ThreatModel
from .apgd import apgd
from .gradient import frozen

__all__ = ["bpda"]


def bpda(
    model: Model,
    x: Float[Tensor, "n c h w"],
    y: Int64[Tensor, " n"],
    *,
    threat: ThreatModel,
    leak: float = 0.05,
    loss: Literal["ce", "margin", "dlr", "dlr-targeted"] = "ce",
    steps: int = 100,
    restarts: int = 1,
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> Float[Tensor, "n c h w"]:
    """Auto-PGD with gradients that leak. See `Attack`.

    Args:
        leak: share of the gradient that passes a closed clamp, in (0, 1].
        loss, steps, restarts: see `apgd`.
    """
    if not 0 < leak <= 1:
        raise RecipeError("leak of bpda", expected="more than 0, at most 1", got=str(leak))

    def leaky(images: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return model(images)
        with leaking(leak):
            return model(images)

    with frozen(model):
        return apgd(
            leaky,
            x,
            y,
            threat=threat,
            loss=loss,
            steps=steps,
            restarts=restarts,
            generator=generator,
            batch_size=batch_size,
        )
