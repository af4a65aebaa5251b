"""What an attack hands back: 8-bit images inside the ball, and what they cost.

An engine takes 8-bit images, so candidates are 8-bit images. Whether they break the engine, the engine itself decides:
a result carries no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...runtime.shapes import UInt8

__all__ = ["AttackResult"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackResult:
    """One attack on one set of images.

    Attributes:
        name: what the attack is called in a report, such as "apgd-ce".
        settings: everything needed to run it again, threat model and seed included; strings and numbers.
        adversarial: one candidate for each image, inside the ball.
        seconds: wall-clock time of the search.
        evaluations: images passed through the model in all: forward (and backward) passes, or queries.
    """

    name: str
    settings: Mapping[str, str | int | float | bool]
    adversarial: UInt8[NDArray[np.uint8], "n c h w"]
    seconds: float
    evaluations: int
