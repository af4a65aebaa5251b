"""How a compression looks at a network: a grey image or a few real ones, in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...runtime.errors import CompressionError

__all__ = ["check_images", "evaluating", "image_like"]

_CHECK_IMAGES = 4


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


def check_images(module: nn.Module, input_shape: tuple[int, int, int], images: Tensor | None) -> Tensor:
    """The images on which a method proves its result, on the module's device and in its type.

    Args:
        module: the network.
        input_shape: (C, H, W).
        images: float [N, C, H, W] in [0, 1], N >= 1; None: 4 random ones of a fixed seed.

    Raises:
        CompressionError: they have another shape.
    """
    like = image_like(module, input_shape)
    if images is None:
        seeded = torch.rand((_CHECK_IMAGES, *input_shape), generator=torch.Generator().manual_seed(0))
        return seeded.to(like)
    if images.ndim != 4 or len(images) == 0 or tuple(images.shape[1:]) != tuple(input_shape):
        raise CompressionError(
            "check_images do not fit the network",
            expected=f"float [N, {', '.join(str(side) for side in input_shape)}], N >= 1",
            got=f"{images.dtype} {list(images.shape)}",
        )
    return images.to(like)
