"""MART: misclassification-aware adversarial training.

    outer = BCE(p(x'), y) + lambda E[ KL(p(x) || p(x')) (1 - p_y(x)) ]        x' raises CE(f(x'), y)
    BCE(p, y) = -log p_y - log(1 - max_{k != y} p_k)

Wang et al. 2020 (ICLR, "Improving adversarial robustness requires revisiting misclassified examples"), eq. 11;
lambda = 5 as published.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ....bench.attacks.access import Model
from .objective import Inner, classification, kl, on_labels, on_pairs

__all__ = ["Mart"]

_TINY = 1e-4  # as published: 1 - p is kept away from log 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Mart:
    """Args: weight: lambda; smoothing: label smoothing in [0, 1) of the cross-entropy in BCE."""

    weight: float = 5.0
    smoothing: float = 0.0

    def inner(self, model: Model, x: Tensor, y: Tensor) -> Inner:
        """See `Objective`."""
        return on_labels(model, y)

    def outer(self, model: Model, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """See `Objective`; labels are int64 [N]."""
        clean, adversarial = on_pairs(model, x, x_adv)
        rival = adversarial.softmax(1).scatter(1, y.unsqueeze(1), 0).amax(1)
        boosted = classification(self.smoothing)(adversarial, y) - torch.log(1 + _TINY - rival).mean()
        wrong = 1 - clean.softmax(1).gather(1, y.unsqueeze(1)).squeeze(1)
        return boosted + self.weight * (kl(adversarial, clean) * wrong).mean()
