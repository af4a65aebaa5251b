"""TRADES: a right answer on the image, and the same answer around it.

    outer = CE(f(x), y) + beta KL(p(x) || p(x'))        x' raises KL(p(x) || p(x'))

Zhang et al. 2019 (arXiv:1901.08573), eq. 5, p the softmax of the logits; beta = 6 as published.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ....bench.attacks.access import Model
from .objective import Inner, classification, kl, on_pairs

__all__ = ["Trades"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trades:
    """Args: weight: beta; smoothing: label smoothing in [0, 1)."""

    weight: float = 6.0
    smoothing: float = 0.0

    def inner(self, model: Model, x: Tensor, y: Tensor) -> Inner:
        """See `Objective`."""
        with torch.no_grad():
            return Inner(model, (model(x).float(),), kl)

    def outer(self, model: Model, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """See `Objective`."""
        clean, adversarial = on_pairs(model, x, x_adv)
        return classification(self.smoothing)(clean, y) + self.weight * kl(adversarial, clean).mean()
