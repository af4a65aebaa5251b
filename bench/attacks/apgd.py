"""Auto-PGD: projected gradient ascent with momentum, which halves its own step size. No step size to tune.

Algorithm 1 of Croce & Hein 2020 (arXiv:2003.01690), f the loss, P the projection, eta_0 = 2 epsilon, alpha = 0.75:

    z_{k+1} = P( x_k + eta_k g(x_k) )
    x_{k+1} = P( x_k + alpha (z_{k+1} - x_k) + (1 - alpha) (x_k - x_{k-1}) )

At checkpoints w_j = ceil(p_j N) with p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), an image
halves its step size and goes back to its best point so far if

    (1) f rose in at most rho = 0.75 of the steps since the last checkpoint, or
    (2) the step size was not halved at the last checkpoint, and the best f has not changed since.

as in the published code (the paper has "fewer than" in (1)). An image leaves the search as soon as it is broken, as an
8-bit image (see `verdict`); carrying on would give the same verdict.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from ...runtime.errors import RecipeError
from .gradient import Model, frozen, logits_and_gradient, logits_of
from .losses import Loss, ce, dlr, dlr_targeted, rivals
from .threat import ThreatModel
from .verdict import broken

__all__ = ["apgd", "checkpoints"]

RHO = 0.75
MOMENTUM = 0.75  # alpha

_LOSSES: dict[str, Loss] = {"ce": ce, "dlr": dlr, "dlr-targeted": dlr_targeted}


def apgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    threat: ThreatModel,
    loss: Literal["ce", "dlr", "dlr-targeted"] = "ce",
    steps: int = 100,
    restarts: int = 1,
    targets: int = 9,
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> Tensor:
    """Search adversarial examples with Auto-PGD.

    Args:
        model: float [N, C, H, W] in [0, 1] -> logits [N, K]; held in evaluation mode meanwhile, see `gradient.frozen`.
        x: float [N, C, H, W], 8-bit images divided by 255.
        y: int64 [N], the right classes; images that the model gets wrong as they are come back as they are.
        threat: the ball to stay in.
        loss: "ce", "dlr", or "dlr-targeted" (APGD-T: a search towards each of the likeliest wrong classes in turn).
        steps: gradient steps a search, at least 1.
        restarts: searches from new random points (for each target), for images that the ones before did not break.
        targets: for "dlr-targeted", how many wrong classes, likeliest first; at most K - 1 are used.
        generator: makes the random starts, and so the result, reproducible.
        batch_size: images a pass.

    Returns:
        float [N, C, H, W] in the ball; for an image that was not broken, the last search's point of highest loss.

    Raises:
        RecipeError: settings out of range.
        ModelError: too few classes for the loss.
    """
    if steps < 1 or restarts < 1 or targets < 1:
        raise RecipeError(
            "apgd needs something to do",
            expected="steps >= 1, restarts >= 1, targets >= 1",
            got=f"steps {steps}, restarts {restarts}, targets {targets}",
        )
    result = x.clone()
    with frozen(model):
        logits = logits_of(model, x, batch_size)
        active = (logits.argmax(1) == y).nonzero().squeeze(1)
        if loss == "dlr-targeted":
            likeliest = rivals(logits, y).topk(min(targets, logits.shape[1] - 1), dim=1).indices
            goals: list[tuple[Tensor, ...]] = [(y, target) for target in likeliest.unbind(1)]
        else:
            goals = [(y,)]
        for labels in goals:
            for _ in range(restarts):
                if not len(active):
                    return result
                x_adv, done = _search(
                    model,
                    x[active],
                    tuple(label[active] for label in labels),
                    threat=threat,
                    loss=_LOSSES[loss],
                    steps=steps,
                    generator=generator,
                    batch_size=batch_size,
                )
                result[active] = x_adv
                active = active[~done]
    return result


def checkpoints(steps: int) -> list[int]:
    """The steps w_1 < w_2 < ... <= steps at which the step size is reconsidered, in exact hundredths."""
    before, now = 0, 22
    found = []
    while now <= 100:
        found.append(-(-now * steps // 100))
        before, now = now, now + max(now - before - 3, 6)
    return sorted(set(found))


@dataclass(kw_only=True, slots=True)
class _State:
    """What the search remembers of each image that is still in it; every tensor is [N, ...]."""

    index: Tensor
    x: Tensor
    labels: Tensor  # int64 [N, 1 or 2]: y, and the target where there is one
    x_adv: Tensor
    previous: Tensor
    grad: Tensor
    best: Tensor
    best_grad: Tensor
    step_size: Tensor
    loss: Tensor
    best_loss: Tensor
    checked_loss: Tensor  # best_loss at the last checkpoint
    rises: Tensor  # steps since the last checkpoint in which the loss rose
    halved: Tensor  # bool: at the last checkpoint

    def keep(self, mask: Tensor) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[mask])

    def reconsider(self, interval: int) -> None:
        """A checkpoint: halve the step size of images that stall, and send them back to their best point."""
        stalled = (self.rises <= RHO * interval) | (~self.halved & (self.checked_loss >= self.best_loss))
        self.step_size = torch.where(stalled, self.step_size / 2, self.step_size)
        self.x_adv[stalled] = self.best[stalled]
        self.grad[stalled] = self.best_grad[stalled]
        self.halved = stalled
        self.checked_loss = self.best_loss.clone()
        self.rises = torch.zeros_like(self.rises)


def _search(
    model: Model,
    x: Tensor,
    labels: tuple[Tensor, ...],
    *,
    threat: ThreatModel,
    loss: Loss,
    steps: int,
    generator: torch.Generator | None,
    batch_size: int,
) -> tuple[Tensor, Tensor]:
    """One run of algorithm 1: the points [N, C, H, W] and which of them break their image [N]."""
    result = x.clone()
    done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    x_adv = threat.random_start(x, generator)
    logits, losses, grad = logits_and_gradient(model, x_adv, labels, loss, batch_size)
    state = _State(
        index=torch.arange(len(x), device=x.device),
        x=x,
        labels=torch.stack(labels, 1),
        x_adv=x_adv,
        previous=x_adv,
        grad=grad,
        best=x_adv,
        best_grad=grad,
        step_size=torch.full_like(losses, 2 * threat.epsilon),
        loss=losses,
        best_loss=losses,
        checked_loss=losses,
        rises=torch.zeros_like(losses),
        halved=torch.ones_like(done),  # as published: rule (2) starts at the second checkpoint
    )

    def drop_broken(logits: Tensor) -> None:
        y = state.labels[:, 0]
        now = broken(model, logits, state.x_adv, state.x, y, threat=threat, batch_size=batch_size)
        if now.any():
            result[state.index[now]] = state.x_adv[now]
            done[state.index[now]] = True
            state.keep(~now)

    drop_broken(logits)
    schedule = checkpoints(steps)
    last_check = 0
    for k in range(1, steps + 1):
        if not len(state.index):
            break
        z = threat.project(threat.step(state.x_adv, state.grad, state.step_size), state.x)
        alpha = MOMENTUM if k > 1 else 1.0
        momentum = state.x_adv + alpha * (z - state.x_adv) + (1 - alpha) * (state.x_adv - state.previous)
        state.previous, state.x_adv = state.x_adv, threat.project(momentum, state.x)
        y = tuple(state.labels.unbind(1))
        logits, losses, state.grad = logits_and_gradient(model, state.x_adv, y, loss, batch_size)
        state.rises = state.rises + (losses > state.loss)
        better = losses > state.best_loss
        state.loss, state.best_loss = losses, torch.maximum(losses, state.best_loss)
        mask = better.view(-1, 1, 1, 1)
        state.best = torch.where(mask, state.x_adv, state.best)
        state.best_grad = torch.where(mask, state.grad, state.best_grad)
        drop_broken(logits)
        if k in schedule:
            state.reconsider(k - last_check)
            last_check = k
    result[state.index] = state.best
    return result, done
