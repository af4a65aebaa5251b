"""How a compression looks at a network: one grey image, in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["evaluating", "image_like"]


@contextmanager
def evaluating(module: nn.Module) -> Iterator[nn.Module]:
    """Eval mode within the block; every submodule gets its own mode back after it."""
    modes = {layer: layer.training for layer in module.modules()}
    module.eval()
    try:
        yield module
    finally:
        for layer, training in modes.items():
            layer.training = training


def image_like(module: nn.Module, input_shape: tuple[int, int, int]) -> Tensor:
    """A grey image, float [1, C, H, W], on the module's device and in its type."""
    parameter = next(module.parameters(), torch.empty(0))
    return torch.full((1, *input_shape), 0.5, device=parameter.device, dtype=parameter.dtype)
