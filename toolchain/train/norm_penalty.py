"""Network slimming's penalty: batch norms that do little are driven to zero, so that their channels can go.

    loss + lambda * sum |gamma|        as a subgradient:  g <- g + lambda sign(gamma)

Liu et al. 2017 (arXiv:1708.06519), eq. 1, over the scales of all batch norms; added behind the loss's own gradient, as
in their code.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["add_norm_penalty"]


def add_norm_penalty(module: nn.Module, factor: float) -> None:
    """Add the penalty's subgradient to the gradients that are there."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, _BatchNorm) and layer.weight is not None and layer.weight.grad is not None:
                layer.weight.grad.add_(layer.weight.sign(), alpha=factor)
