"""The average of the weights along training, which generalizes better than the last ones.

    ema    a <- d a + (1 - d) w  after every step,    d = min(decay, (1 + t) / (10 + t))
    swa    a <- mean of w after each of the last epochs        (Izmailov et al. 2018, arXiv:1803.05407)

Both with the statistics of batch norm. Averages leave the sharp minima that robust overfitting comes with (Chen et al.
2021, "Robust overfitting may be mitigated by properly learned smoothening").
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..recipe.training import Training

__all__ = ["Average", "average_of"]


class Average:
    """The running average of a module's state.

    Args:
        module: what is trained.
        decay: d in (0, 1) of the exponential average; None for the plain mean of what `add` was given.
    """

    def __init__(self, module: nn.Module, decay: float | None) -> None:
        self.decay = decay
        self.count = 0
        self.state = {key: value.detach().clone() for key, value in module.state_dict().items()}

    @torch.no_grad()
    def add(self, module: nn.Module) -> None:
        """Take the module's present state in."""
        self.count += 1
        t = self.count
        keep = (t - 1) / t if self.decay is None else min(self.decay, (1 + t) / (10 + t))
        for key, value in module.state_dict().items():
            average = self.state[key]
            if value.is_floating_point() and not torch.equal(average, value):  # constants, infinity too, are no sums
                average.lerp_(value, 1 - keep)
            else:
                average.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"count": self.count, "state": self.state}

    def load_state_dict(self, stored: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.count = int(stored["count"])
        for key, value in self.state.items():
            value.copy_(stored["state"][key])

    def swap(self, module: nn.Module) -> dict[str, Tensor]:
        """Put the average into the module; what was there comes back, for `module.load_state_dict`."""
        own = {key: value.detach().clone() for key, value in module.state_dict().items()}
        module.load_state_dict(self.state)
        return own


def average_of(module: nn.Module, settings: Training) -> Average | None:
    """The recipe's average; None where it asks for none."""
    if settings.average == "none":
        return None
    return Average(module, settings.ema_decay if settings.average == "ema" else None)
