"""A layer as W = UV + C: one layer of the shape of V and C together, and a 1 x 1 layer behind it.

    [ V ]                                                  x_out = U (V x) + C x = [ U  I ] [ V ] x
    [ C ]  the given kernel, r + m channels                                                 [ C ]

The I is constant. Two layers in a row, because a batch norm behind them folds into the second, where a sum of two
branches would keep it apart, and because no sum of two quantized branches is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..factorization.factors import Factors

__all__ = ["SumOfProduct"]


class SumOfProduct(Factors):
    """The two layers.

    Args:
        layer: a convolution without groups, or a linear layer; its weight is W [m, n, ...].
        rank: r, the columns of U; UV starts as the best approximation of W of that rank, and C as the rest.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, rank: int) -> None:
        weight = layer.weight.detach()
        rows = weight.flatten(1).double()
        left, values, right = torch.linalg.svd(rows, full_matrices=False)
        root = values[:rank].sqrt()
        u, v = left[:, :rank] * root, root[:, None] * right[:rank]
        first_weight = torch.cat([v, rows - u @ v])
        second_weight = torch.cat([u, torch.eye(len(rows), dtype=torch.float64, device=weight.device)], dim=1)
        super().__init__(*_layers(layer, rank))
        first, second = self.weights
        with torch.no_grad():
            first.copy_(first_weight.view_as(first))
            second.copy_(second_weight.view_as(second))
            if layer.bias is not None:
                self[1].get_parameter("bias").copy_(layer.bias)
        self.rank = rank
        self.train(layer.training)

    @property
    def weights(self) -> tuple[nn.Parameter, nn.Parameter]:
        """Of the first layer, [r + m, n, ...], and of the second, [m, r + m, ...]."""
        return self[0].get_parameter("weight"), self[1].get_parameter("weight")

    def parts(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """U [m, r, ...], V [r, n, ...] and C [m, n, ...]: views of what has the shapes of the two weights."""
        return second[:, : self.rank], first[: self.rank], first[self.rank :]

    def hold_identity(self) -> None:
        """Put the constant part of the second layer back."""
        with torch.no_grad():
            constant = self.weights[1][:, self.rank :]
            constant.copy_(torch.eye(len(constant)).to(constant).view_as(constant))


def _layers(layer: nn.Conv2d | nn.Linear, rank: int) -> tuple[nn.Module, nn.Module]:
    place, kind, has_bias = layer.weight.device, layer.weight.dtype, layer.bias is not None
    if isinstance(layer, nn.Linear):
        outputs = layer.out_features
        linear = nn.Linear(layer.in_features, rank + outputs, bias=False, device=place, dtype=kind)
        return linear, nn.Linear(rank + outputs, outputs, bias=has_bias, device=place, dtype=kind)
    outputs = layer.out_channels
    convolution = nn.Conv2d(
        layer.in_channels,
        rank + outputs,
        layer.kernel_size,  # type: ignore[arg-type]
        stride=layer.stride,  # type: ignore[arg-type]
        padding=layer.padding,  # type: ignore[arg-type]
        dilation=layer.dilation,  # type: ignore[arg-type]
        padding_mode=layer.padding_mode,
        bias=False,
        device=place,
        dtype=kind,
    )
    return convolution, nn.Conv2d(rank + outputs, outputs, 1, bias=has_bias, device=place, dtype=kind)
