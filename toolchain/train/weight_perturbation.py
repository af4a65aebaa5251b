"""Adversarial weight perturbation: the loss is lowered where the worst nearby weights have it.

    v = gamma ||w|| / ||g|| g  for each weight tensor w,   g = grad_w outer(w)        step on  grad_w outer(w + v)

Wu et al. 2020 (arXiv:2004.05884), eqs. 8 and 9 with one step; gamma = 0.005 as published. Only weights of convolutions
and linear layers move (tensors of two dimensions or more). The statistics of batch norm are those of the second pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["perturbed_weights"]

_TINY = 1e-20  # as published: a gradient that vanishes moves nothing


@contextmanager
def perturbed_weights(module: nn.Module, outer: Callable[[], Tensor], gamma: float) -> Iterator[None]:
    """Hold the module's weights at their worst within gamma while the loss is taken a second time."""
    buffers = [buffer.clone() for buffer in module.buffers()]
    weights = [weight for weight in module.parameters() if weight.requires_grad and weight.ndim > 1]
    gradients = torch.autograd.grad(outer(), weights, allow_unused=True)
    moved = []
    with torch.no_grad():
        for buffer, before in zip(module.buffers(), buffers, strict=True):
            buffer.copy_(before)
        for weight, gradient in zip(weights, gradients, strict=True):
            if gradient is None:
                continue
            moved.append((weight, weight.clone()))
            weight.add_(gradient * (gamma * weight.norm() / gradient.norm().clamp(min=_TINY)))
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in moved:
                weight.copy_(before)  # to the bit, which subtracting would not give
