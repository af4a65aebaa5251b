"""A plan of 8-bit kernels, and whether the weights that were packed into it still stand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .execution import Plan

__all__ = ["PackedPlan"]


class PackedPlan:
    """A plan, and the weights of the twin it was made for."""

    def __init__(self, plan: Plan, twin: nn.Module) -> None:
        self.plan = plan
        self._weights = [weight.detach().clone() for weight in twin.parameters()]
        self._buffers = [(buffer, _version(buffer)) for buffer in twin.buffers()]

    def is_current(self, twin: nn.Module) -> bool:
        """Whether the twin's weights are those of the plan. They are compared: `.data` leaves no trace of a write."""
        buffers = zip(self._buffers, twin.buffers(), strict=True)
        return all(was is now and version == _version(now) for (was, version), now in buffers) and all(
            torch.equal(was, now) for was, now in zip(self._weights, twin.parameters(), strict=True)
        )


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
