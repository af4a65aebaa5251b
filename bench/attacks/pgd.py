"""Projected gradient descent and its one-step forms.

    x_{t+1} = Proj_{B(x, epsilon)}( x_t + alpha * sign(grad_x l(f(x_t), y)) )

as in section 3.3 of "Adversarial Fine-tuning of Compressed Neural Networks for Joint Improvement of Robustness and
Efficiency", after Madry et al. 2018 (arXiv:1706.06083). The paper runs 20 steps of alpha = 0.01 from x_0 = x, as in
Kolter & Madry's tutorial, with epsilon = 0.1 on Fashion-MNIST and 8/255 on CIFAR-10. In l2 the step is along
grad / ||grad||_2.

    FGSM      one step of alpha = epsilon from x                              (Goodfellow et al. 2015)
    FGSM-RS   one step of alpha = 1.25 epsilon from a uniform random point    (R-FGSM as in Wong et al. 2020)
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from ...runtime.errors import RecipeError
from .gradient import Model, frozen, logits_and_gradient, logits_of
from .losses import ce, margin
from .threat import ThreatModel
from .verdict import broken

__all__ = ["fgsm", "pgd"]

_LOSSES = {"ce": ce, "margin": margin}


def pgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    threat: ThreatModel,
    steps: int,
    step_size: float,
    random_start: bool,
    restarts: int = 1,
    loss: Literal["ce", "margin"] = "ce",
    generator: torch.Generator | None = None,
    early_stop: bool = True,
    batch_size: int = 128,
) -> Tensor:
    """Search adversarial examples by projected gradient ascent on a loss.

    With `early_stop` an image leaves the search with the first iterate that fools the model as an 8-bit image (see
    `verdict`), which decides like "any iterate of any restart", in less time. Without, this is the equation above and
    nothing more: `steps` forward and backward passes, no other, and the last iterate, fooling or not; the form for
    training and for the paper's figures.

    Args:
        model: float [N, C, H, W] in [0, 1] -> logits [N, K]; held in evaluation mode meanwhile, see `gradient.frozen`.
        x: float [N, C, H, W], 8-bit images divided by 255.
        y: int64 [N], the right classes.
        threat: the ball to stay in.
        steps: gradient steps, at least 1.
        step_size: alpha, in the units of `threat.epsilon`.
        random_start: x_0 is uniform in the ball instead of x.
        restarts: searches from new random points, for images that the ones before did not break.
        loss: what is raised: cross-entropy, or the margin of the best wrong logit.
        generator: makes the random starts, and so the result, reproducible.
        early_stop: see above.
        batch_size: images a pass.

    Returns:
        float [N, C, H, W] in the ball; for an image that was not broken, the last iterate.

    Raises:
        RecipeError: settings that contradict each other or are out of range.
    """
    if steps < 1 or restarts < 1 or step_size < 0:
        raise RecipeError(
            "pgd needs something to do",
            expected="steps >= 1, restarts >= 1, step_size >= 0",
            got=f"steps {steps}, restarts {restarts}, step_size {step_size}",
        )
    if restarts > 1 and not (random_start and early_stop):
        raise RecipeError(
            "every restart of pgd would do the same, or none would count",
            expected="random_start and early_stop where restarts > 1",
            got=f"random_start {random_start}, early_stop {early_stop}, restarts {restarts}",
        )
    verdict = partial(broken, model, threat=threat, batch_size=batch_size)
    result = x.clone()
    active = torch.arange(len(x), device=x.device)  # where the images still searched came from
    with frozen(model):
        for restart in range(restarts):
            x_adv = threat.random_start(x, generator) if random_start else x
            for _ in range(steps):
                if not len(active):
                    return result
                logits, _, grad = logits_and_gradient(model, x_adv, (y,), _LOSSES[loss], batch_size)
                if early_stop and (done := verdict(logits, x_adv, x, y)).any():
                    result[active[done]] = x_adv[done]
                    active, x, y, x_adv, grad = (part[~done] for part in (active, x, y, x_adv, grad))
                x_adv = threat.project(threat.step(x_adv, grad, step_size), x)
            result[active] = x_adv
            if restart + 1 < restarts and len(active):
                left = ~verdict(logits_of(model, x_adv, batch_size), x_adv, x, y)
                active, x, y = active[left], x[left], y[left]
    return result


def fgsm(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    threat: ThreatModel,
    random_start: bool = False,
    step_size: float | None = None,
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> Tensor:
    """One step of `pgd`: one forward and one backward pass.

    Args:
        step_size: alpha; epsilon if not given, and 1.25 epsilon with a random start, as in Wong et al. 2020.

    The others, the result and the errors are those of `pgd` without early stop.
    """
    if step_size is None:
        step_size = threat.epsilon * (1.25 if random_start else 1)
    return pgd(
        model,
        x,
        y,
        threat=threat,
        steps=1,
        step_size=step_size,
        random_start=random_start,
        generator=generator,
        early_stop=False,
        batch_size=batch_size,
    )
