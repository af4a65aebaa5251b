"""First-order Taylor expansion: how much the loss would change if the weight were zero.

    score(w) = mean over batches of (g w)^2

Molchanov et al. 2019 (arXiv:1906.10771), eq. 8; of a filter it is the sum over its weights. g is the gradient of the
cross-entropy on training images, in evaluation mode: of adversarial ones where the build has an adversary, since a
weight that robustness needs may do nothing for clean images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....train.inner_maximization import adversarial_images
from ....train.objectives.adversarial import Adversarial
from ...context import Context
from ...probe import evaluating

__all__ = ["taylor"]


def taylor(module: nn.Module, layers: Sequence[str], context: Context, *, images: int) -> dict[str, Tensor]:
    """The score of each weight, float64 in the weight's shape; the module comes out unchanged.

    Args:
        module: float [N, C, H, W] in [0, 1] -> logits [N, K].
        layers: names of convolutions and linear layers.
        context: its training images, adversary and batch size.
        images: how many training images to look at.
    """
    assert context.train is not None
    weights = [module.get_submodule(name).get_parameter("weight") for name in layers]
    place, part = weights[0].device, context.train.at_most(images, seed=context.training.seed)
    generator = torch.Generator().manual_seed(context.training.seed)
    totals = [torch.zeros_like(weight, dtype=torch.float64) for weight in weights]
    starts = range(0, len(part), context.finetune.batch_size)
    trained = [weight.requires_grad for weight in weights]
    try:
        for start in starts:
            many = slice(start, start + context.finetune.batch_size)
            x = torch.from_numpy(part.images[many]).to(place).float() / 255
            y = torch.from_numpy(part.labels[many]).to(place)
            if context.adversary is not None:
                plain = context.adversary.plain
                x = adversarial_images(module, x, y, adversary=plain, objective=Adversarial(), generator=generator)
            with evaluating(module), torch.enable_grad():
                for weight in weights:
                    weight.requires_grad_()
                loss = F.cross_entropy(module(x).float(), y)
                gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            for total, weight, gradient in zip(totals, weights, gradients, strict=True):
                if gradient is not None:
                    total.add_((gradient.double() * weight.detach().double()).square())
    finally:
        for weight, before in zip(weights, trained, strict=True):
            weight.requires_grad_(before)
    return {name: total / len(starts) for name, total in zip(layers, totals, strict=True)}
