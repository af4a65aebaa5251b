"""The adversary of training: where a batch's adversarial images come from.

    pgd       x_{t+1} = Proj_B( x_t + alpha sign(grad) ),  `steps` times, from x or a random point
    fgsm      one such step of alpha = 1.25 epsilon from a random point
    n-fgsm    x + eta + alpha sign(grad at x + eta),  eta uniform in [-2 epsilon, 2 epsilon]^d, alpha = epsilon,
              both points clipped to [0, 1] only

Madry et al. 2018 (arXiv:1706.06083), Wong et al. 2020 (arXiv:2001.03994) and de Jorge et al. 2022 (arXiv:2202.01181,
algorithm 1). The network is in evaluation mode meanwhile; what is raised is the objective's own (`objectives/`).

One-step training can overfit catastrophically: the network learns to fool the one step and nothing else. N-FGSM's
larger noise without projection guards against it, and so does GradAlign (Andriushchenko & Flammarion 2020,
arXiv:2007.02617, eq. 5), which penalizes

    1 - cos( grad_x CE(f(x), y), grad_x CE(f(x + eta), y) ),      eta uniform in the ball.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ...bench.attacks.threat.geometry import ball_of
from ...bench.attacks.threat.threat_model import ThreatModel
from ...bench.attacks.white_box.gradient import frozen, logits_and_gradient
from ..recipe.adversary import Adversary
from .objectives.objective import Objective

__all__ = ["adversarial_images", "gradient_misalignment"]

_NOISE = 2  # k of N-FGSM
_ONE_STEP = 1.25  # of epsilon: the step of FGSM from a random point
_NONE = 1e-20  # a gradient below, whose square float32 cannot hold, is none


def adversarial_images(
    module: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    adversary: Adversary,
    objective: Objective,
    generator: torch.Generator,
) -> Tensor:
    """Adversarial images [N, C, H, W] of the batch x [N, C, H, W] in [0, 1]; y as in `Objective`."""
    threat, ball = adversary.ball, ball_of(adversary.ball)
    with frozen(module):
        search = objective.inner(module, x, y)
        if adversary.attack == "n-fgsm":
            start = (x + _NOISE * threat.epsilon * _uniform(x, generator)).clamp(0, 1)
        else:
            start = ball.random_start(x, generator) if adversary.random_start else x
        x_adv = start
        for _ in range(adversary.steps if adversary.attack == "pgd" else 1):
            _, _, grad = logits_and_gradient(search.model, x_adv, search.labels, search.loss, len(x))
            x_adv = ball.step(x_adv, grad, _step_size(adversary, threat))
            x_adv = x_adv.clamp(0, 1) if adversary.attack == "n-fgsm" else ball.project(x_adv, x)
    return x_adv


def gradient_misalignment(
    module: nn.Module, x: Tensor, y: Tensor, *, threat: ThreatModel, generator: torch.Generator
) -> Tensor:
    """GradAlign's penalty, a number in [0, 2] with a gradient for the weights; two backward passes that are kept.

    As published, the mean is over the images that have a gradient at both points.
    """

    def direction(point: Tensor) -> tuple[Tensor, Tensor]:
        image = point.detach().requires_grad_()
        # on copies of batch norm's statistics: they are the training step's own
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        loss = F.cross_entropy(functional_call(module, buffers, (image,)).float(), y, reduction="sum")
        gradient = torch.autograd.grad(loss, image, create_graph=True)[0].flatten(1)
        largest = gradient.detach().abs().amax(1, keepdim=True)
        # divided: the gradient of an image that the network is sure of is smaller than the epsilon of a cosine
        return gradient / largest.clamp(min=_NONE), largest.squeeze(1) > _NONE

    start = ball_of(threat).random_start(x, generator)
    with torch.random.fork_rng([x.device] if x.is_cuda else []):
        here, found = direction(x)
    nearby, found_nearby = direction(start)  # with the same dropout
    there = found & found_nearby
    apart = torch.where(there, 1 - F.cosine_similarity(here, nearby, dim=1), 0.0)
    return apart.sum() / there.sum().clamp(min=1)


def _step_size(adversary: Adversary, threat: ThreatModel) -> float:
    default = {"fgsm": _ONE_STEP, "n-fgsm": 1.0, "pgd": 2 / adversary.steps}[adversary.attack]
    return adversary.step_size or default * threat.epsilon


def _uniform(x: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform in [-1, 1], like x."""
    return (torch.rand(x.shape, generator=generator, dtype=x.dtype) * 2 - 1).to(x.device)
