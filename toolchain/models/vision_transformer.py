"""ViT-B (Dosovitskiy et al. 2021, arXiv:2010.11929) with small patches, of any width and depth.

12 heads of `width` channels each, `depth` layers, a hidden layer four times as wide: width 64 and depth 12 are ViT-B.
Patches of 4 x 4 pixels leave 49 places of a 28 x 28 image, where torchvision's `vit_b_16` needs 224 x 224. torchvision
starts its last layer at zero; here it starts as any other.
"""

from __future__ import annotations

from torch import nn

from ...bench.data.vision import torchvision
from ...runtime.errors import ModelError

__all__ = ["vision_transformer"]

_HEADS = 12
_PATCH = 4
_HIDDEN = 4
"""Times as wide."""


def vision_transformer(
    width: int = 64, *, depth: int = 12, channels: int = 3, classes: int = 10, image_size: int = 28
) -> nn.Module:
    """float [N, channels, image_size, image_size] -> logits [N, classes].

    Args:
        width: channels of a head, 1 or more.
        depth: layers, 1 or more.
        channels: channels of the image.
        classes: K, the number of classes.
        image_size: side of the image in pixels, a multiple of 4.

    Raises:
        ModelError: an argument is out of range.
    """
    for name, value in (("width", width), ("depth", depth)):
        if value < 1:
            raise ModelError(f"vit: {name} is too small", expected="1 or more", got=str(value))
    if image_size < _PATCH or image_size % _PATCH:
        raise ModelError("vit takes patches of 4 pixels", expected="a side that is a multiple", got=str(image_size))
    wide = _HEADS * width
    network: nn.Module = torchvision().models.VisionTransformer(
        image_size=image_size,
        patch_size=_PATCH,
        num_layers=depth,
        num_heads=_HEADS,
        hidden_dim=wide,
        mlp_dim=_HIDDEN * wide,
        num_classes=classes,
    )
    network.conv_proj = nn.Conv2d(channels, wide, kernel_size=_PATCH, stride=_PATCH)
    network.heads = nn.Sequential()
    network.heads.add_module("head", nn.Linear(wide, classes))
    return network
