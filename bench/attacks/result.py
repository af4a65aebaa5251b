"""What an attack hands back: 8-bit images inside the ball, and what they cost.

Candidates are real 8-bit images because those are what an engine can be given; whether they break the engine is for the
engine to say, so a result carries no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["AttackResult"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttackResult:
    """One attack on one set of images.

    Attributes:
        name: what the attack is called in a report, such as "apgd-ce".
        settings: everything needed to run it again, threat model and seed included; strings and numbers.
        adversarial: uint8 [N, C, H, W], one candidate for each image, inside the ball.
        seconds: wall-clock time of the search.
        evaluations: images passed through the model in all: forward (and backward) passes, or queries.
    """

    name: str
    settings: Mapping[str, str | int | float | bool]
    adversarial: NDArray[np.uint8]
    seconds: float
    evaluations: int
