"""Adversarial training as in Madry et al. 2018 (arXiv:1706.06083), eq. 2.1: cross-entropy on adversarial images.

    outer = CE(f(x'), y)        x' raises CE(f(x'), y)

With FGSM from a random start it is Wong et al. 2020 (arXiv:2001.03994), with N-FGSM de Jorge et al. 2022
(arXiv:2202.01181), with replays Shafahi et al. 2019 (arXiv:1904.12843): the adversary is the recipe's choice.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ....bench.attacks.access import Model
from .objective import Inner, classification, on_labels

__all__ = ["Adversarial"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Adversarial:
    """Args: smoothing: label smoothing in [0, 1)."""

    smoothing: float = 0.0

    def inner(self, model: Model, x: Tensor, y: Tensor) -> Inner:
        """See `Objective`."""
        return on_labels(model, y)

    def outer(self, model: Model, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """See `Objective`."""
        return classification(self.smoothing)(model(x_adv).float(), y)
