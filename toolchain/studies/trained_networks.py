"""Networks of torchvision for the table of trained ones, as they are trained in minutes on images of 28 x 28.

    toolchain build --model hardtemper.toolchain.studies.trained_networks:vit --out out/vit

ConvNeXt (Liu et al. 2022, arXiv:2201.03545) with one block of 32 channels, one of 64 and two of 128. Its stem takes
patches of 2 x 2 pixels instead of 4 x 4, so that 14 x 14 places are left; layer scales start at 0.1 instead of 1e-6, as
few epochs would leave them near zero. ViT (Dosovitskiy et al. 2021, arXiv:2010.11929): patches of 4 x 4 pixels, width
64, 4 layers of 4 heads. torchvision starts its last layer at zero; here it starts as any other.

EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946) is torchvision's, with the epsilon 1e-3 of the authors' batch norms
(and of torchvision's B5 to B7). With torchvision's 1e-5, a channel that hardly varies is multiplied by thousands when
the norm is folded: no 8-bit step is small enough for what it reads.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from ...bench.data.vision import torchvision

__all__ = ["convnext", "efficientnet_b0", "vit"]

_CLASSES = 10
_SIDE = 28


def convnext() -> nn.Module:
    """float [N, 1, 28, 28] in [0, 1] -> logits [N, 10]."""
    models = torchvision().models.convnext
    blocks = [
        models.CNBlockConfig(32, 64, 1),
        models.CNBlockConfig(64, 128, 1),
        models.CNBlockConfig(128, None, 2),
    ]
    network: nn.Module = models.ConvNeXt(blocks, layer_scale=0.1, num_classes=_CLASSES)
    network.get_submodule("features.0")[0] = nn.Conv2d(1, 32, kernel_size=2, stride=2)  # type: ignore[operator]
    return network


def efficientnet_b0() -> nn.Module:
    """float [N, 1, 28, 28] in [0, 1] -> logits [N, 10]."""
    norm = partial(nn.BatchNorm2d, eps=1e-3)
    network: nn.Module = torchvision().models.efficientnet_b0(norm_layer=norm, num_classes=_CLASSES)
    stem = network.get_submodule("features.0")
    stem[0] = nn.Conv2d(1, 32, kernel_size=3, stride=2, padding=1, bias=False)  # type: ignore[operator]
    return network


def vit() -> nn.Module:
    """float [N, 1, 28, 28] in [0, 1] -> logits [N, 10]."""
    width = 64
    network: nn.Module = torchvision().models.VisionTransformer(
        image_size=_SIDE,
        patch_size=4,
        num_layers=4,
        num_heads=4,
        hidden_dim=width,
        mlp_dim=2 * width,
        num_classes=_CLASSES,
    )
    network.conv_proj = nn.Conv2d(1, width, kernel_size=4, stride=4)
    network.get_submodule("heads").head = nn.Linear(width, _CLASSES)
    return network
