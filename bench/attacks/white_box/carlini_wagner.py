"""The attack of Carlini and Wagner: the shortest l2 perturbation as a smooth problem without constraints.

Carlini & Wagner 2017 (arXiv:1608.04644, section VI.A): with x' = (tanh(w) + 1) / 2, which stays in the box,

    min_w  ||x' - x||_2^2 + c l(x'),     l(x') = max(kappa - margin(x'), 0)

where the margin is max_{k != y} z_k - z_y or, with a target t, z_t - max_{k != t} z_k; by Adam from w of the image. The
constant c is searched for each image: ten times larger until it succeeds, then bisected.

Every tenth part of the steps, an image whose objective has not fallen by 0.01 % leaves the round; the published code
stops when that holds for the sum over the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ....runtime.errors import RecipeError
from ....runtime.shapes import Float, Int64
from ..access import Model
from ..losses import Loss, objective
from ..threat.threat_model import ThreatModel
from .gradient import frozen, logits_and_gradient, logits_of
from .nearest import Nearest

__all__ = ["carlini_wagner"]

_INSIDE = 0.999999  # as published: tanh reaches 0 and 1 nowhere
_STALLED = 0.9999
_BETA_1, _BETA_2, _NO_ZERO = 0.9, 0.999, 1e-8  # Adam, arXiv:1412.6980


def carlini_wagner(
    model: Model,
    x: Float[Tensor, "n c h w"],
    y: Int64[Tensor, " n"],
    *,
    threat: ThreatModel,
    steps: int = 1000,
    searches: int = 9,
    learning_rate: float = 0.01,
    initial_c: float = 1e-3,
    confidence: float = 0.0,
    minimize: bool = False,
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> Float[Tensor, "n c h w"]:
    """Search the nearest adversarial examples in l2. See `Attack`; nothing is random, so `generator` is not used.

    Args:
        steps: gradient steps a round, at least 1.
        searches: rounds, each with its own c, at least 1.
        learning_rate: Adam's, > 0.
        initial_c: the first c, > 0.
        confidence: kappa, the margin below which a point does not count, in logits, >= 0.
        minimize: go on for the shortest perturbation in floating point; if false, an image is finished when it is
            broken inside the ball as an 8-bit image.

    Returns:
        The nearest adversarial point found, or the image itself.
    """
    if threat.norm != "l2":
        raise RecipeError(
            "carlini_wagner searches short perturbations in l2",
            expected="a threat model such as l2:1.5",
            got=str(threat),
            fix="use fab, which knows linf, l2 and l1",
        )
    if min(steps, searches) < 1 or not (
        0 < learning_rate < math.inf and 0 < initial_c < math.inf and 0 <= confidence < math.inf
    ):
        raise RecipeError(
            "settings of carlini_wagner out of range",
            expected="steps, searches >= 1, finite learning_rate > 0, initial_c > 0, confidence >= 0",
            got=f"{steps}, {searches}, {learning_rate}, {initial_c}, {confidence}",
        )
    margin = objective("margin", threat)

    def reached(logits: Tensor, y: Tensor) -> Tensor:
        """What attacks raise is the negative of the paper's l."""
        return (margin(logits, y) - confidence).clamp(max=0)

    with frozen(model):
        rows = threat.attacked(logits_of(model, x, batch_size).argmax(1), y).nonzero().squeeze(1)
        nearest = Nearest(model, x, y, threat=threat, minimize=minimize, batch_size=batch_size)
        search = _Search(
            model=model, loss=reached, nearest=nearest, steps=steps, learning_rate=learning_rate, batch_size=batch_size
        )
        c = torch.full((len(rows),), initial_c, dtype=x.dtype, device=x.device)
        low, high = torch.zeros_like(c), torch.full_like(c, torch.inf)
        for _ in range(searches):
            if not len(rows):
                break
            fooled, done = search.round(x[rows], y[rows], rows, c)
            low, high = torch.where(fooled, low, c), torch.where(fooled, c, high)
            c = torch.where(high.isinf(), 10 * c, (low + high) / 2)
            rows, c, low, high = (part[~done] for part in (rows, c, low, high))
    return nearest.points


@dataclass(kw_only=True, slots=True)
class _State:
    """What a round remembers of each image that is still in it; every tensor is [N, ...]."""

    index: Tensor
    row: Tensor
    x: Tensor
    y: Tensor
    c: Tensor
    w: Tensor
    first: Tensor  # Adam's moments
    second: Tensor
    checked: Tensor  # the objective at the last check

    def keep(self, mask: Tensor) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[mask])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Search:
    """What all rounds share; `loss` is the negative of the paper's l, the settings are those of `carlini_wagner`."""

    model: Model
    loss: Loss
    nearest: Nearest
    steps: int
    learning_rate: float
    batch_size: int

    def round(self, x: Tensor, y: Tensor, rows: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Adam with one c for each image: bool [N], which were fooled at some step; bool [N], which are finished."""
        fooled, finished = torch.zeros_like(c, dtype=torch.bool), torch.zeros_like(c, dtype=torch.bool)
        w = torch.atanh((2 * x - 1) * _INSIDE)
        state = _State(
            index=torch.arange(len(x), device=x.device),
            row=rows,
            x=x,
            y=y,
            c=c,
            w=w,
            first=torch.zeros_like(w),
            second=torch.zeros_like(w),
            checked=torch.full_like(c, torch.inf),
        )
        check = max(self.steps // 10, 1)
        for step in range(1, self.steps + 1):
            x_adv = (torch.tanh(state.w) + 1) / 2
            logits, losses, grad = logits_and_gradient(self.model, x_adv, (state.y,), self.loss, self.batch_size)
            now, done = self.nearest.offer(state.row, x_adv, logits, enough=losses >= 0)
            fooled[state.index[now]] = True
            finished[state.index[done]] = True
            delta = x_adv - state.x
            slope = 2 * delta - state.c.view(-1, *[1] * (x.ndim - 1)) * grad
            slope = slope * 2 * x_adv * (1 - x_adv)  # dx' / dw
            state.first = torch.lerp(slope, state.first, _BETA_1)
            state.second = torch.lerp(slope.square(), state.second, _BETA_2)
            scale = (state.second / (1 - _BETA_2**step)).sqrt() + _NO_ZERO
            state.w = state.w - self.learning_rate * (state.first / (1 - _BETA_1**step)) / scale
            left = ~done
            if step % check == 0:
                total = delta.flatten(1).square().sum(1) - state.c * losses
                left &= total <= _STALLED * state.checked
                state.checked = total
            if not left.all():
                state.keep(left)
            if not len(state.index):
                break
        return fooled, finished
