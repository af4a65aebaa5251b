"""Adversarial training with maximum margin regularization: algorithm 7 of the deep compression paper.

    outer = CE(z, Y) + lambda E[ max(0, 1 - (p_Y - max_{k != Y} p_k)) ]        over {x, x'} with labels {y, y}

"Adversarial robustness of deep compression with boundary smoothing", eqs. 9 and 10 and algorithm 7: x' is FGSM's, and
lambda = 0.1 (appendix C). The paper's z is in [0, 1], which makes it the softmax p.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ....bench.attacks.access import Model
from ....bench.attacks.losses import margin
from .objective import Inner, classification, on_labels, on_pairs

__all__ = ["MaximumMargin"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MaximumMargin:
    """Args: weight: lambda; smoothing: label smoothing in [0, 1)."""

    weight: float = 0.1
    smoothing: float = 0.0

    def inner(self, model: Model, x: Tensor, y: Tensor) -> Inner:
        """See `Objective`."""
        return on_labels(model, y)

    def outer(self, model: Model, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """See `Objective`; labels are int64 [N]."""
        logits, labels = torch.cat(on_pairs(model, x, x_adv)), torch.cat([y, y])
        short = (1 + margin(logits.softmax(1), labels)).clamp(min=0)
        return classification(self.smoothing)(logits, labels) + self.weight * short.mean()
