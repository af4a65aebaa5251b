"""Auto-PGD: projected gradient ascent which sets its own step size. No step size to tune.

Algorithm 1 of Croce & Hein 2020 (arXiv:2003.01690), P the projection, g the norm's steepest ascent:

    z_{k+1} = P( x_k + eta_k g(x_k) )
    x_{k+1} = P( x_k + alpha (z_{k+1} - x_k) + (1 - alpha) (x_k - x_{k-1}) )

with alpha = 0.75; in l1 without momentum, x_{k+1} = z_{k+1}, and through wider balls first: ceil(0.3 N) of N steps in
the ball of 3 epsilon, as many in that of 2 epsilon, each search from the best point of the one before (Croce & Hein
2021, arXiv:2103.01208, multi-epsilon l1-APGD). Of 1, 2 or 4 steps none is left for the ball itself, where the
projection alone is looked at. Step sizes are in `apgd_steps`.

An image leaves the search as soon as it is broken as an 8-bit image (see `stopping`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from ....runtime.errors import RecipeError
from ....runtime.shapes import Float, Int64
from ..access import Model
from ..losses import Loss, dlr_targeted, objective, rivals
from ..threat.geometry import ball_of
from ..threat.threat_model import ThreatModel
from .apgd_steps import step_rule
from .gradient import frozen, logits_and_gradient, logits_of
from .stopping import broken

__all__ = ["apgd"]


def apgd(
    model: Model,
    x: Float[Tensor, "n c h w"],
    y: Int64[Tensor, " n"],
    *,
    threat: ThreatModel,
    loss: Literal["ce", "margin", "dlr", "dlr-targeted"] = "ce",
    steps: int = 100,
    restarts: int = 1,
    targets: int = 9,
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> Float[Tensor, "n c h w"]:
    """Auto-PGD. See `Attack`.

    Args:
        loss: "ce", "margin", "dlr", or "dlr-targeted" (APGD-T: a search towards each of the likeliest wrong classes in
            turn). Where the threat model has a target, all of them aim at that, and "dlr-targeted" is "dlr".
        steps: gradient steps a search, at least 1.
        restarts: searches from new random points (for each target), for images that the ones before did not break.
        targets: for "dlr-targeted", how many wrong classes, likeliest first; at most K - 1 are used.

    Returns:
        For an image that was not broken, the last search's point of highest loss.
    """
    if steps < 1 or restarts < 1 or targets < 1:
        raise RecipeError(
            "settings of apgd out of range",
            expected="steps >= 1, restarts >= 1, targets >= 1",
            got=f"steps {steps}, restarts {restarts}, targets {targets}",
        )
    towards_each = loss == "dlr-targeted" and threat.target is None
    raised = dlr_targeted if towards_each else objective("dlr" if loss == "dlr-targeted" else loss, threat)
    result = x.clone()
    with frozen(model):
        logits = logits_of(model, x, batch_size)
        active = threat.attacked(logits.argmax(1), y).nonzero().squeeze(1)
        search = _Search(
            model=model, threat=threat, loss=raised, steps=steps, generator=generator, batch_size=batch_size
        )
        goals: list[tuple[Tensor, ...]] = [(y,)]
        if towards_each:
            likeliest = rivals(logits, y).topk(min(targets, logits.shape[1] - 1), dim=1).indices
            goals = [(y, target) for target in likeliest.unbind(1)]
        for labels in goals:
            for _ in range(restarts):
                if not len(active):
                    return result
                result[active], done = search.restart(x[active], tuple(label[active] for label in labels))
                active = active[~done]
    return result


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
    loss: Tensor
    best_loss: Tensor

    def keep(self, left: Tensor) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[left])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Search:
    """What all searches share; the settings are those of `apgd`."""

    model: Model
    threat: ThreatModel
    loss: Loss
    steps: int
    generator: torch.Generator | None
    batch_size: int

    def restart(self, x: Tensor, labels: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """One search from a random point, in l1 through wider balls: the points, and which of them are broken [N]."""
        threat, steps = self.threat, self.steps
        wide = -(-3 * steps // 10) if threat.norm == "l1" else 0  # steps in each of the wider balls
        counts = (wide, min(wide, steps - wide), max(steps - 2 * wide, 0))
        threats = [(replace(threat, epsilon=k * threat.epsilon), n) for k, n in zip((3, 2), counts, strict=False) if n]
        threats.append((threat, counts[-1]))
        widest = threats[0][0]
        x_adv = ball_of(widest).random_start(x, self.generator)
        done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for inside, count in threats:
            start = x_adv if inside is widest else ball_of(inside).project(x_adv, x)
            x_adv, done = replace(self, threat=inside, steps=count).ascend(x, labels, start, stop=inside is threat)
        return x_adv, done

    def ascend(self, x: Tensor, labels: tuple[Tensor, ...], start: Tensor, *, stop: bool) -> tuple[Tensor, Tensor]:
        """Algorithm 1 from `start`: the points and, if broken images `stop`, which of them are broken [N]."""
        result = x.clone()
        done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        verdict = partial(broken, self.model, threat=self.threat, batch_size=self.batch_size)
        logits, losses, grad = logits_and_gradient(self.model, start, labels, self.loss, self.batch_size)
        losses = torch.where(losses.isnan(), -torch.inf, losses)  # no loss that is a number would be better than NaN
        ball, rule = ball_of(self.threat), step_rule(self.threat, x, start, losses, self.steps)
        state = _State(
            index=torch.arange(len(x), device=x.device),
            x=x,
            labels=torch.stack(labels, 1),
            x_adv=start,
            previous=start,
            grad=grad,
            best=start,
            best_grad=grad,
            loss=losses,
            best_loss=losses,
        )

        def drop_broken(logits: Tensor, losses: Tensor) -> Tensor:
            """Images that are broken leave; the losses of those that stay."""
            if not stop:
                return losses
            now = verdict(logits, state.x_adv, state.x, state.labels[:, 0])
            if not now.any():
                return losses
            result[state.index[now]] = state.x_adv[now]
            done[state.index[now]] = True
            state.keep(~now)
            rule.keep(~now)
            return losses[~now]

        drop_broken(logits, losses)
        for k in range(1, self.steps + 1):
            if not len(state.index):
                break
            # Where a pass overflowed, the gradient says nothing, and its NaN would stay in the image for good.
            step = ball.step(
                state.x_adv, torch.where(state.grad.isnan(), 0, state.grad), rule.step_size, sparsity=rule.sparsity
            )
            z = ball.project(step, state.x)
            if rule.momentum < 1:
                alpha = rule.momentum if k > 1 else 1.0
                z = state.x_adv + alpha * (z - state.x_adv) + (1 - alpha) * (state.x_adv - state.previous)
                z = ball.project(z, state.x)
            state.previous, state.x_adv = state.x_adv, z
            y = tuple(state.labels.unbind(1))
            logits, losses, state.grad = logits_and_gradient(self.model, state.x_adv, y, self.loss, self.batch_size)
            losses = drop_broken(logits, losses)
            rose, better = losses > state.loss, losses > state.best_loss
            state.loss, state.best_loss = losses, torch.where(better, losses, state.best_loss)
            mask = better.view(-1, *[1] * (x.ndim - 1))
            state.best = torch.where(mask, state.x_adv, state.best)
            state.best_grad = torch.where(mask, state.grad, state.best_grad)
            back = rule.stalled(k, state.x, state.best, rose, state.best_loss)
            if back is not None:
                state.x_adv = torch.where(back.view(mask.shape), state.best, state.x_adv)
                state.grad = torch.where(back.view(mask.shape), state.best_grad, state.grad)
        result[state.index] = state.best
        return result, done
