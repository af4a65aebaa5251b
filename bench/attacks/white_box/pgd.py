"""Projected gradient descent.

    x_{t+1} = Proj_{B(x, epsilon)}( x_t + alpha * sign(grad_x l(f(x_t), y)) )

as in section 3.3 of "Adversarial Fine-tuning of Compressed Neural Networks for Joint Improvement of Robustness and
Efficiency", after Madry et al. 2018 (arXiv:1706.06083). The paper runs 20 steps of alpha = 0.01 from x_0 = x, as in
Kolter & Madry's tutorial, with epsilon = 0.1 on Fashion-MNIST and 8/255 on CIFAR-10. In l2 the step is along
grad / ||grad||_2, in l1 along the largest entries of the gradient (see `geometry`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from ....runtime.errors import RecipeError
from ....runtime.shapes import Bool, Float, Int64
from ..access import Model
from ..losses import Loss, objective
from ..threat.geometry import ball_of
from ..threat.threat_model import ThreatModel
from .gradient import frozen, logits_and_gradient, logits_of
from .stopping import broken

__all__ = ["Ascent", "pgd"]

Stop = Literal["never", "early", "early and at the end"]
"""When to look for broken images: never; before each step; or after the last step too, which costs one more pass."""


def pgd(
    model: Model,
    x: Float[Tensor, "n c h w"],
    y: Int64[Tensor, " n"],
    *,
    threat: ThreatModel,
    steps: int,
    step_size: float,
    random_start: bool,
    restarts: int = 1,
    loss: Literal["ce", "margin", "dlr"] = "ce",
    generator: torch.Generator | None = None,
    early_stop: bool = True,
    batch_size: int = 128,
) -> Float[Tensor, "n c h w"]:
    """Projected gradient ascent on a loss. See `Attack`; images that the model gets wrong are searched as well.

    With `early_stop` an image leaves the search with the first iterate that fools the model as an 8-bit image (see
    `stopping`), which decides like "any iterate of any restart", in less time. Without it, this is the equation above
    and nothing more: `steps` forward and backward passes, no other, and the last iterate, fooling or not; the form for
    training and for the paper's figures.

    Args:
        steps: gradient steps, at least 1.
        step_size: alpha, in the units of `threat.epsilon`.
        random_start: x_0 is random in the ball instead of x.
        restarts: searches from new random points, for images that the ones before did not break.
        loss: what is raised: cross-entropy, the margin of the best wrong logit (Carlini & Wagner 2017), or the
            difference of logits ratio; towards the target where the threat model has one.
        early_stop: see above.

    Returns:
        For an image that was not broken, the last iterate.
    """
    if steps < 1 or restarts < 1 or not 0 <= step_size < math.inf:
        raise RecipeError(
            "settings of pgd out of range",
            expected="steps >= 1, restarts >= 1, a finite step_size >= 0",
            got=f"steps {steps}, restarts {restarts}, step_size {step_size}",
        )
    if restarts > 1 and not (random_start and early_stop):
        raise RecipeError(
            "restarts of pgd need random_start and early_stop",
            expected="random_start and early_stop where restarts > 1",
            got=f"random_start {random_start}, early_stop {early_stop}, restarts {restarts}",
        )
    result = x.clone()
    active = torch.arange(len(x), device=x.device)
    if threat.target is not None:
        active = active[y != threat.target]
    ascent = Ascent(
        model=model,
        threat=threat,
        loss=objective(loss, threat),
        steps=steps,
        step_size=step_size,
        random_start=random_start,
        generator=generator,
        batch_size=batch_size,
    )
    with frozen(model):
        for restart in range(restarts):
            stop: Stop = "never" if not early_stop else "early" if restart + 1 == restarts else "early and at the end"
            x_adv, done = ascent.search(x[active], (y[active],), stop=stop)
            result[active] = x_adv
            active = active[~done]
            if not len(active):
                break
    return result


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ascent:
    """The equation above on a frozen model; the settings are those of `pgd`."""

    model: Model
    threat: ThreatModel
    loss: Loss
    steps: int
    step_size: float
    random_start: bool
    generator: torch.Generator | None
    batch_size: int

    def search(
        self, x: Float[Tensor, "n c h w"], labels: tuple[Int64[Tensor, " n"], ...], *, stop: Stop
    ) -> tuple[Float[Tensor, "n c h w"], Bool[Tensor, " n"]]:
        """One search from the images x.

        Args:
            labels: what the loss takes after the logits, the right classes first.
            stop: see `Stop`.

        Returns:
            The points, and which of them are known to be broken.
        """
        ball = ball_of(self.threat)
        verdict = partial(broken, self.model, threat=self.threat, batch_size=self.batch_size)
        result = x.clone()
        found = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        active = torch.arange(len(x), device=x.device)  # where the images still searched came from
        x_adv = ball.random_start(x, self.generator) if self.random_start else x
        for _ in range(self.steps):
            if not len(active):
                return result, found
            logits, _, grad = logits_and_gradient(self.model, x_adv, labels, self.loss, self.batch_size)
            if stop != "never" and (done := verdict(logits, x_adv, x, labels[0])).any():
                result[active[done]] = x_adv[done]
                found[active[done]] = True
                active, x, x_adv, grad = (part[~done] for part in (active, x, x_adv, grad))
                labels = tuple(label[~done] for label in labels)
            x_adv = ball.project(ball.step(x_adv, grad, self.step_size), x)
        result[active] = x_adv
        if stop == "early and at the end" and len(active):
            found[active] = verdict(logits_of(self.model, x_adv, self.batch_size), x_adv, x, labels[0])
        return result, found
