"""Whether two forms of one network are one function: the engine and its twin, image by image.

Rule: an image agrees if every logit is the same float32 number, bit for bit up to the sign of zero. For exact bundles
that holds for every image; for other graphs the count says how far an attack on the twin is an attack on the engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..attacks.access import Model
from ..attacks.white_box.gradient import device_of, frozen
from ..measurement import Measurement, Setting, measured

__all__ = ["Agreement", "compare", "twin_logits"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How often two forms of a network differ.

    Attributes:
        n: images compared.
        logits: images with a logit that differs.
        classes: images where the two predict different classes.
        largest: the largest absolute difference of a logit; infinite where only one of the two is a finite number.
    """

    n: int
    logits: int
    classes: int
    largest: float

    def measurement(self, on: str, **settings: Setting) -> Measurement:
        """The images with a logit that differs, as "twin-mismatch"; `on` says which images were compared."""
        largest = self.largest if np.isfinite(self.largest) else None
        return measured(
            "twin-mismatch",
            self.logits,
            n=self.n,
            settings={**settings, "on": on, "classes": self.classes, "largest_difference": largest},
        )

    @classmethod
    def total(cls, parts: Iterable[Agreement]) -> Agreement:
        """Of all images together."""
        found = list(parts)
        return cls(
            n=sum(part.n for part in found),
            logits=sum(part.logits for part in found),
            classes=sum(part.classes for part in found),
            largest=max((part.largest for part in found), default=0.0),
        )


def compare(one: NDArray[np.float32], other: NDArray[np.float32]) -> Agreement:
    """Compare logits [N, K] with logits [N, K]; a NaN agrees with a NaN."""
    with np.errstate(invalid="ignore"):
        gap = np.where((one == other) | (np.isnan(one) & np.isnan(other)), 0, np.abs(one - other))
    gap = np.where(np.isnan(gap), np.inf, gap)
    return Agreement(
        n=len(one),
        logits=int((gap > 0).any(1).sum()),
        classes=int((one.argmax(1) != other.argmax(1)).sum()),
        largest=float(gap.max(initial=0.0)),
    )


def twin_logits(twin: Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a differentiable model says to 8-bit images: uint8 [N, C, H, W] -> float32 [N, K].

    A module runs on the device of its parameters.
    """
    x = torch.from_numpy(images).to(device_of(twin)).float() / 255
    with torch.no_grad(), frozen(twin):
        logits: NDArray[np.float32] = twin(x).float().cpu().numpy()
    return logits
