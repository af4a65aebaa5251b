"""A white-box attack on 8-bit images: search in floating point, round to pixels inside the ball."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..access import Labels, Model, Pixels
from ..result import AttackResult
from ..threat.geometry import ball_of
from ..threat.threat_model import ThreatModel
from .gradient import device_of, frozen

__all__ = ["attack_pixels"]


def attack_pixels(
    name: str,
    attack: Callable[..., Tensor],
    model: Model,
    images: Pixels,
    labels: Labels,
    *,
    threat: ThreatModel,
    seed: int,
    **settings: Any,
) -> AttackResult:
    """Run a white-box attack on 8-bit images and round what it finds to 8-bit images inside the ball.

    Args:
        name: for the report.
        attack: an `Attack`; it gets the settings.
        model: a module is attacked on the device of its parameters.
        images: 8-bit images.
        labels: the right classes.
        threat: the ball. The attack searches the smallest one that holds the same 8-bit images, `threat.on_pixels()`,
            and its points are rounded into that one too: rounding by another rule than the search's could give an
            image that the search has not looked at.
        seed: of the random starts.
        settings: the attack's own.
    """
    seen = 0

    def counted(x: Tensor) -> Tensor:
        nonlocal seen
        seen += len(x)
        return model(x)

    searched = threat.on_pixels()
    device = device_of(model)
    pixels = torch.from_numpy(images).to(device)
    y = torch.from_numpy(labels).to(device)
    start = time.perf_counter()
    with frozen(model):
        x_adv = attack(
            counted,
            pixels.float() / 255,
            y,
            threat=searched,
            generator=torch.Generator().manual_seed(seed),
            **settings,
        )
    adversarial: NDArray[np.uint8] = ball_of(searched).to_pixels(x_adv, pixels).cpu().numpy()
    return AttackResult(
        name=name,
        settings={"threat": str(threat), "seed": seed, **settings},
        adversarial=adversarial,
        seconds=time.perf_counter() - start,
        evaluations=seen,
    )
