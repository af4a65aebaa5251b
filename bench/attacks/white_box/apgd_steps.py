"""How Auto-PGD sets its own step sizes: halved where the search stalls (linf, l2), or tied to sparsity (l1).

Halving (Croce & Hein 2020, arXiv:2003.01690, section 4.1), f the loss. Steps start at 2 epsilon. At checkpoints
w_j = ceil(p_j N) with p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), an image halves its step
and goes back to its best point so far if

    (1) f rose in at most rho = 0.75 of the steps since the last checkpoint, or
    (2) the step was not halved at the last checkpoint, and the best f has not changed since,

as in the published code (the paper has "fewer than" in (1)).

Sparsity (Croce & Hein 2021, "Mind the box", arXiv:2103.01208, algorithm 1). A step of length eta moves alike the k
coordinates of largest gradient. At first eta = epsilon; then, every N / 25 steps, with s the number of pixel values
that the best point changes (at first the start) and s' what it was last time,

    k = s / 1.5;    s < 0.95 s':  eta = epsilon, back to the best point;    else  eta = max(eta / 1.5, epsilon / 10)
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ....runtime.shapes import Bool, Float, Int64
from ..threat.threat_model import ThreatModel

__all__ = ["Halving", "Sparsity", "StepRule", "checkpoints", "step_rule"]

RHO = 0.75


class StepRule(Protocol):
    """The steps of the N images that are still searched.

    Attributes:
        step_size: eta.
        sparsity: k, or None where all coordinates move.
        momentum: alpha of the search; 1 is none.
    """

    step_size: Float[Tensor, " n"]
    momentum: float

    @property
    def sparsity(self) -> Int64[Tensor, " n"] | None: ...

    def keep(self, left: Bool[Tensor, " n"]) -> None:
        """Forget images that are not `left`."""

    def stalled(
        self,
        step: int,
        x: Float[Tensor, " n *d"],
        best: Float[Tensor, " n *d"],
        rose: Bool[Tensor, " n"],
        best_loss: Float[Tensor, " n"],
    ) -> Bool[Tensor, " n"] | None:
        """Take note of a step, and set the next.

        Args:
            step: counted from 1.
            x: the original images.
            best: the points of highest loss.
            rose: whether the loss rose in this step.
            best_loss: the highest loss.

        Returns:
            The images to send back to their best points; None if the step is no checkpoint.
        """


def step_rule(
    threat: ThreatModel,
    x: Float[Tensor, " n *d"],
    start: Float[Tensor, " n *d"],
    loss: Float[Tensor, " n"],
    steps: int,
) -> StepRule:
    """The rule of the norm, for a search of `steps` steps around x from the points `start` of loss `loss`."""
    return Sparsity(threat, x, start, steps) if threat.norm == "l1" else Halving(threat, loss, steps)


class Halving:
    """For linf and l2."""

    momentum = 0.75
    sparsity = None

    def __init__(self, threat: ThreatModel, loss: Float[Tensor, " n"], steps: int) -> None:
        self.step_size = torch.full_like(loss, 2 * threat.epsilon)
        self._checkpoints = checkpoints(steps)
        self._last_check = 0
        self._rises = torch.zeros_like(loss)  # since the last checkpoint
        self._checked_loss = loss  # the best at the last checkpoint
        self._halved = torch.ones_like(loss, dtype=torch.bool)  # as published: rule (2) starts at the second checkpoint

    def keep(self, left: Bool[Tensor, " n"]) -> None:
        self.step_size, self._rises = self.step_size[left], self._rises[left]
        self._checked_loss, self._halved = self._checked_loss[left], self._halved[left]

    def stalled(
        self,
        step: int,
        x: Float[Tensor, " n *d"],
        best: Float[Tensor, " n *d"],
        rose: Bool[Tensor, " n"],
        best_loss: Float[Tensor, " n"],
    ) -> Bool[Tensor, " n"] | None:
        self._rises = self._rises + rose
        if step not in self._checkpoints:
            return None
        few_rises = self._rises <= RHO * (step - self._last_check)
        stalled = few_rises | (~self._halved & (self._checked_loss >= best_loss))
        self.step_size = torch.where(stalled, self.step_size / 2, self.step_size)
        self._halved, self._checked_loss = stalled, best_loss
        self._rises, self._last_check = torch.zeros_like(self._rises), step
        return stalled


class Sparsity:
    """For l1."""

    momentum = 1.0
    sparsity: Tensor

    def __init__(
        self, threat: ThreatModel, x: Float[Tensor, " n *d"], start: Float[Tensor, " n *d"], steps: int
    ) -> None:
        self._epsilon = threat.epsilon
        self._every = max(steps // 25, 1)
        self.step_size = torch.full((len(x),), threat.epsilon, dtype=x.dtype, device=x.device)
        self._changed = _changed(start, x)
        self.sparsity = _fewer(self._changed)

    def keep(self, left: Bool[Tensor, " n"]) -> None:
        self.step_size, self.sparsity, self._changed = self.step_size[left], self.sparsity[left], self._changed[left]

    def stalled(
        self,
        step: int,
        x: Float[Tensor, " n *d"],
        best: Float[Tensor, " n *d"],
        rose: Bool[Tensor, " n"],
        best_loss: Float[Tensor, " n"],
    ) -> Bool[Tensor, " n"] | None:
        if step % self._every:
            return None
        changed = _changed(best, x)
        sparser = changed < 0.95 * self._changed
        smaller = (self.step_size / 1.5).clamp_(min=self._epsilon / 10)
        self.step_size = torch.where(sparser, torch.full_like(smaller, self._epsilon), smaller)
        self._changed, self.sparsity = changed, _fewer(changed)
        return sparser


def _changed(points: Tensor, x: Tensor) -> Tensor:
    return (points != x).flatten(1).sum(1)


def _fewer(changed: Tensor) -> Tensor:
    return (changed / 1.5).ceil().long().clamp_(min=1)


def checkpoints(steps: int) -> list[int]:
    """The steps w_1 < w_2 < ... <= steps at which the step size is reconsidered, in exact hundredths."""
    before, now = 0, 22
    found = []
    while now <= 100:
        found.append(-(-now * steps // 100))
        before, now = now, now + max(now - before - 3, 6)
    return sorted(set(found))
