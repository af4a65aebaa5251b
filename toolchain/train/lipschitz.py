"""The penalty of defensive quantization: weights near an isometry, so that no layer makes a perturbation larger.

    beta / 2 * sum_l ||W_l^T W_l - I||^2          W_l [K, C k k] of a convolution, [K, features] of a linear layer

Lin et al. 2019 (arXiv:1904.08444), eq. 6, after Cisse et al. 2017 (Parseval networks); beta = 3e-4 as published. Each
group of a grouped convolution is a matrix of its own. The square of W W^T differs from that of W^T W by nothing, so the
smaller of the two is computed:

    ||W^T W - I||^2 = ||W W^T||^2 - 2 ||W||^2 + columns
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...runtime.shapes import Float

__all__ = ["lipschitz_penalty"]


def lipschitz_penalty(module: nn.Module) -> Float[Tensor, ""]:
    """sum_l ||W_l^T W_l - I||^2 / 2 over the convolutions and linear layers of a float module."""
    total = torch.zeros(())
    for layer in module.modules():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            total = total + _distance(torch.stack(layer.weight.flatten(1).chunk(layer.groups)))
        elif isinstance(layer, nn.Linear):
            total = total + _distance(layer.weight[None])
    return total / 2


def _distance(matrices: Float[Tensor, "groups rows columns"]) -> Float[Tensor, ""]:
    groups, rows, columns = matrices.shape
    small = matrices if rows <= columns else matrices.mT
    squares = (small @ small.mT).square().sum()
    return squares - 2 * matrices.square().sum() + groups * columns
