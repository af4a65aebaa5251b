"""BPDA: Auto-PGD along the gradient of a smoother network, for those that hide behind their clamps.

Backward pass differentiable approximation (Athalye et al. 2018, arXiv:1802.00420, section 4.1): the forward pass is the
network, the backward pass that of g, near it and differentiable. Here g leaks through closed clamps (`export/leak.py`),
ReLU and the saturation of integers alike. A unit that is off for an image and everything around it has no gradient, so
that plain searches never learn what would switch it on.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ....export.twin.gradients import leaking
from ....runtime.errors import RecipeError
from ..access import Model
from ..threat.threat_model import ThreatModel
from .apgd import apgd
from .gradient import frozen

__all__ = ["bpda"]


def bpda(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    threat: ThreatModel,
    leak: float = 0.05,
    loss: Literal["ce", "margin", "dlr", "dlr-targeted"] = "ce",
    steps: int = 100,
    restarts: int = 1,
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> Tensor:
    """Search adversarial examples with gradients that leak.

    Args:
        model, x, y, threat, loss, steps, restarts, generator, batch_size: as for `apgd`.
        leak: share of the gradient that passes a closed clamp, in (0, 1].

    Returns:
        As `apgd`.

    Raises:
        RecipeError: settings out of range.
        ModelError: too few classes for the loss or the target.
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
