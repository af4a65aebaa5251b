"""An objective of adversarial training: what the adversary raises, and what the network lowers.

min_theta  E_(x, y)  outer(theta; x, x', y)       x' ~ argmax_{x' in B(x)} inner(theta; x', ...)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ....bench.attacks.access import Model
from ....bench.attacks.losses import Loss, ce

__all__ = ["Inner", "Objective", "classification", "kl", "on_labels", "on_pairs"]


class Inner(NamedTuple):
    """What `bench.attacks.gradient.logits_and_gradient` follows; `labels` are what the loss takes after the logits."""

    model: Model
    labels: tuple[Tensor, ...]
    loss: Loss


class Objective(Protocol):
    """Labels y are int64 [N], or float [N, K] (shares of each class) where images were mixed."""

    def inner(self, model: Model, x: Tensor, y: Tensor) -> Inner:
        """What the adversary raises around the images x [N, C, H, W]; asked once a batch, in evaluation mode."""

    def outer(self, model: Model, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """What the network lowers: a number; the model is in training mode."""


def on_labels(model: Model, y: Tensor) -> Inner:
    """The adversary of Madry et al. 2018: it raises the cross-entropy with the labels."""
    return Inner(model, (y,), ce)


def on_pairs(model: Model, x: Tensor, x_adv: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [N, K] of images and of their adversarial versions from one pass, so that batch norm sees both."""
    clean, adversarial = model(torch.cat([x, x_adv])).float().chunk(2)
    return clean, adversarial


def classification(smoothing: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy of logits [N, K] with labels, a share `smoothing` of which is spread over all classes."""

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(logits, y, label_smoothing=smoothing)

    return loss


def kl(logits: Tensor, wanted: Tensor) -> Tensor:
    """KL(softmax(wanted) || softmax(logits)) of each image, float [N] >= 0; both are logits [N, K].

    On logarithms: where a probability is 0 in float32, the gradient of KL for it would be 0 * inf.
    """
    return F.kl_div(F.log_softmax(logits, 1), F.log_softmax(wanted, 1), reduction="none", log_target=True).sum(1)
