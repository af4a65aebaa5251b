"""Normalization as a part of the network: y = (x - mean) / std, channel by channel, x in [0, 1].

Inside the network, so that an attack's epsilon is always one of pixels and an engine takes pixels. The ImageNet
constants are torchvision's (mean 0.485, 0.456, 0.406; std 0.229, 0.224, 0.225); a gray image takes their averages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from ...runtime.errors import ModelError

__all__ = ["Normalize", "Preprocess", "preprocess"]

Normalize = Literal["none", "imagenet"] | tuple[Sequence[float], Sequence[float]]
"""No normalization, ImageNet's, or (mean, std) with one value for all channels or one a channel, for x in [0, 1]."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocess(nn.Module):
    """(x - mean) / std on float [N, C, H, W].

    The constants are no part of the state dict: a recipe holds them, and checkpoints hold the network alone.

    Args:
        mean: C finite values.
        std: C finite values above 0.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(1, -1, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float [N, C, H, W] in [0, 1] -> float [N, C, H, W]."""
        return (images - self.mean) / self.std


def preprocess(normalize: Normalize, channels: int) -> Preprocess | None:
    """The module for `normalize`, None for "none".

    Raises:
        ModelError: an unknown word, or a mean or std of the wrong length or out of range.
    """
    if normalize == "none":
        return None
    if normalize == "imagenet":
        if channels == 1:
            return Preprocess([sum(_IMAGENET_MEAN) / 3], [sum(_IMAGENET_STD) / 3])
        return Preprocess(_IMAGENET_MEAN, _IMAGENET_STD)
    expected = f"none, imagenet, or a mean and a std of 1 or {channels} finite values each, std above 0"
    if isinstance(normalize, str) or len(normalize) != 2:
        raise ModelError("unknown normalization", expected=expected, got=repr(normalize))
    mean, std = (tuple(map(float, values)) for values in normalize)
    if (
        {len(mean), len(std)} - {1, channels}
        or not all(map(math.isfinite, (*mean, *std)))
        or any(value <= 0 for value in std)
    ):
        raise ModelError("the normalization does not fit", expected=expected, got=f"mean {mean}, std {std}")
    return Preprocess(mean * (channels // len(mean)), std * (channels // len(std)))
