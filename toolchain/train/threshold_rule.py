"""The thresholds of a twin learn by a rule of their own.

Adam, beta 0.9 and 0.999, learning rate 0.01 (Jain et al. 2019, arXiv:1903.08066, section 5): a threshold's gradient
grows with its tensor, and Adam's steps do not. So the optimizer of the weights, its weight decay and the clipping of
gradients leave the thresholds alone. The learning rate follows the stage's schedule: in the end no exponent changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...export.twin.twin import Twin
from ..recipe.adversary import Adversary
from ..recipe.training import TwinTraining
from .schedule import learning_rate_share

__all__ = ["ThresholdRule", "threshold_rule"]


class ThresholdRule:
    """Moves the exponents of one twin (`Thresholds`), step by step.

    Args:
        exponents: what is learned.
        learning_rate: the largest, in units of log2.
        share: of it at each step, from 0.
    """

    def __init__(self, exponents: nn.Parameter, *, learning_rate: float, share: Callable[[int], float]) -> None:
        self._exponents = exponents
        self._learning_rate, self._share = learning_rate, share
        self._adam = torch.optim.Adam([exponents], lr=learning_rate)
        self._gradient: Tensor | None = None
        self._step = 0

    def with_gradients(self) -> None:
        """Take the gradient away from clipping and from the weights' optimizer, which leaves alone what has none."""
        self._gradient, self._exponents.grad = self._exponents.grad, None

    def stepped(self) -> None:
        """Adam's step."""
        self._exponents.grad, self._gradient = self._gradient, None
        self._adam.param_groups[0]["lr"] = self._learning_rate * self._share(self._step)
        self._adam.step()
        self._exponents.grad = None
        self._step += 1

    def state_dict(self) -> dict[str, Any]:
        """Adam's state and the number of the step."""
        return {"adam": self._adam.state_dict(), "step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._adam.load_state_dict(state["adam"])
        self._step = int(state["step"])


def threshold_rule(
    twin: Twin, settings: TwinTraining, *, images: int, adversary: Adversary | None
) -> ThresholdRule | None:
    """The rule of a twin's stage; None where its thresholds stand still.

    Args:
        twin: on the device that it is trained on, or not yet.
        settings: of the stage.
        images: training images an epoch.
        adversary: of the stage; each of its replays is an update.
    """
    if twin.thresholds is None:
        return None
    steps_per_epoch = images // settings.batch_size * (adversary.replays if adversary is not None else 1)

    def share(step: int) -> float:
        return learning_rate_share(
            settings.schedule,
            step=step,
            steps=settings.epochs * steps_per_epoch,
            steps_per_epoch=steps_per_epoch,
            warmup=settings.warmup,
        )

    return ThresholdRule(twin.thresholds.exponents, learning_rate=settings.threshold_learning_rate, share=share)
