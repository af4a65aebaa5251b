"""ATMC's two constraints, held while a network is trained (Gui et al. 2019, algorithm 2).

    theta  <- Proj_k ( theta - gamma grad [ f + rho/2 ||theta - theta' + u||^2 ] )     every step
    theta' <- ZeroKmeans_{2^b} (theta + u),     u <- u + theta - theta'                 every few steps

Proj_k keeps the k largest magnitudes of all parts together. ADMM splits the constraint on values from that on
nonzeros, since each has a simple projection and both together have none. At the end theta itself gets 2^b values, on
its nonzeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..smallest import smallest
from .zero_kmeans import zero_kmeans

__all__ = ["Admm", "keep_largest"]


def keep_largest(tensors: Sequence[Tensor], k: int) -> None:
    """Set all but the k largest magnitudes of the tensors together to zero, in place; ties go by position."""
    gone = sum(tensor.numel() for tensor in tensors) - k
    if gone <= 0:
        return
    with torch.no_grad():
        for tensor, mask in zip(tensors, smallest([tensor.abs() for tensor in tensors], gone), strict=True):
            tensor.masked_fill_(mask, 0)


class Admm:
    """The update rule of one training (`toolchain/train/update_rule.py`).

    Args:
        parts: gives U, V and C of every layer: views of the parameters as they are now.
        gradients: gives the gradients of the same, in the same order; None for one that has none.
        k: nonzeros of all parts together.
        clusters: values beside 0 in each part; None: as many as there are.
        rho: weight of the penalty.
        interval: steps between updates of theta' and u.
        constant: called after every step to put back what does not move.
    """

    def __init__(
        self,
        parts: Callable[[], list[Tensor]],
        gradients: Callable[[], list[Tensor | None]],
        *,
        k: int,
        clusters: int | None,
        rho: float,
        interval: int,
        constant: Callable[[], None],
    ) -> None:
        self._parts, self._gradients, self._constant = parts, gradients, constant
        self._k, self._clusters, self._rho, self._interval = k, clusters, rho, interval
        self._steps = 0
        self._values: list[Tensor] = []
        self._duals: list[Tensor] = []
        self._centers: list[Tensor | None] = []

    def with_gradients(self) -> None:
        """Add the penalty's gradient, rho (theta - theta' + u)."""
        if self._clusters is None or not self._values:
            return
        for part, gradient, values, dual in zip(
            self._parts(), self._gradients(), self._values, self._duals, strict=True
        ):
            if gradient is not None:
                gradient.add_((part.detach() - values + dual).to(gradient), alpha=self._rho)

    def stepped(self) -> None:
        """Project onto the nonzeros; every few steps move the values and the dual variables."""
        self._constant()
        parts = self._parts()
        keep_largest(parts, self._k)
        self._steps += 1
        if self._clusters is None or self._steps % self._interval:
            return
        if not self._values:
            self._values = [part.detach().clone() for part in parts]
            self._duals = [torch.zeros_like(part) for part in self._values]
            self._centers = [None] * len(parts)
        for place, part in enumerate(parts):
            aimed = part.detach() + self._duals[place]
            self._values[place], self._centers[place] = zero_kmeans(aimed, self._clusters, start=self._centers[place])
            self._duals[place] = aimed - self._values[place]

    def finish(self) -> None:
        """Both constraints at once: k nonzeros, each with one of the values."""
        self._constant()
        parts = self._parts()
        keep_largest(parts, self._k)
        if self._clusters is None:
            return
        with torch.no_grad():
            for part in parts:
                part.copy_(zero_kmeans(part, self._clusters)[0])

    def state_dict(self) -> dict[str, Any]:
        """Steps, values, dual variables and centers."""
        return {"steps": self._steps, "values": self._values, "duals": self._duals, "centers": self._centers}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`'s."""
        self._steps = state["steps"]
        parts = self._parts()
        place = parts[0].device if parts else torch.device("cpu")
        self._values = [tensor.to(place) for tensor in state["values"]]
        self._duals = [tensor.to(place) for tensor in state["duals"]]
        self._centers = [None if tensor is None else tensor.to(place) for tensor in state["centers"]]
