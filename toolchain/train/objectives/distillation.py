"""Robust distillation: a small student learns what a robust, uncompressed teacher T says.

    ARD     x' raises CE(S(x'), y)              outer = a t^2 KL(T_t(x) || S_t(x')) + (1 - a) CE(S(x), y)
    RSLAD   x' raises KL(T(x) || S(x'))         outer = 5/6 KL(T(x) || S(x')) + 1/6 KL(T(x) || S(x))
    AdaAD   x' raises KL(T(x') || S(x'))        outer = a KL(T(x') || S(x')) + (1 - a) KL(T(x) || S(x))

Goldblum et al. 2020 (arXiv:1905.09747), eq. 3, T_t the softmax at temperature t; Zi et al. 2021 (arXiv:2108.07969),
eqs. 4 and 5; Huang et al. 2023 (CVPR, "Boosting accuracy and robustness of student models via adaptive adversarial
distillation"), eqs. 5 to 7. The teacher is in evaluation mode and learns nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ....bench.attacks.access import Model
from .objective import Inner, classification, kl, on_labels, on_pairs

__all__ = ["AdaptiveDistillation", "RobustDistillation", "SoftLabelDistillation"]


def _said(teacher: Model, x: Tensor) -> Tensor:
    with torch.no_grad():
        return teacher(x).float()


@dataclass(frozen=True, kw_only=True, slots=True)
class RobustDistillation:
    """ARD. Args: teacher: images -> logits; weight: a in [0, 1]; temperature: t > 0; smoothing: of the labels."""

    teacher: Model
    weight: float = 1.0
    temperature: float = 1.0
    smoothing: float = 0.0

    def inner(self, model: Model, x: Tensor, y: Tensor) -> Inner:
        """See `Objective`."""
        return on_labels(model, y)

    def outer(self, model: Model, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """See `Objective`."""
        clean, adversarial = on_pairs(model, x, x_adv)
        followed = kl(adversarial / self.temperature, _said(self.teacher, x) / self.temperature).mean()
        own = classification(self.smoothing)(clean, y)
        return self.weight * self.temperature**2 * followed + (1 - self.weight) * own


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftLabelDistillation:
    """RSLAD. Args: teacher: images -> logits; weight: of the adversarial part, in [0, 1]."""

    teacher: Model
    weight: float = 5 / 6

    def inner(self, model: Model, x: Tensor, y: Tensor) -> Inner:
        """See `Objective`."""
        return Inner(model, (_said(self.teacher, x),), kl)

    def outer(self, model: Model, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """See `Objective`."""
        clean, adversarial = on_pairs(model, x, x_adv)
        said = _said(self.teacher, x)
        return self.weight * kl(adversarial, said).mean() + (1 - self.weight) * kl(clean, said).mean()


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveDistillation:
    """AdaAD. Args: teacher: images -> logits, differentiable; weight: a in [0, 1]."""

    teacher: Model
    weight: float = 1.0

    def inner(self, model: Model, x: Tensor, y: Tensor) -> Inner:
        """See `Objective`: the gradient goes through the teacher too."""

        def pair(x_adv: Tensor) -> Tensor:
            return torch.cat([model(x_adv).float(), self.teacher(x_adv).float()], 1)

        def apart(logits: Tensor) -> Tensor:
            student, teacher = logits.chunk(2, 1)
            return kl(student, teacher)

        return Inner(pair, (), apart)

    def outer(self, model: Model, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """See `Objective`."""
        clean, adversarial = on_pairs(model, x, x_adv)
        apart = kl(adversarial, _said(self.teacher, x_adv)).mean()
        return self.weight * apart + (1 - self.weight) * kl(clean, _said(self.teacher, x)).mean()
