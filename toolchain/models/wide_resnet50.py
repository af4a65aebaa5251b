"""WideResNet-50-2 of any width (Zagoruyko and Komodakis 2016, arXiv:1605.07146), for images that need less of it.

ResNet-50 with bottlenecks twice as wide: stages of 3, 4, 6 and 3 blocks, w, 2w, 4w and 8w channels doubled within and
four times as many behind. With w = 64 it is torchvision's `wide_resnet50_2`, layer for layer and name for name.
"""

from __future__ import annotations

import torch
from torch import nn

from ...bench.data.vision import torchvision
from ...runtime.errors import ModelError

__all__ = ["WideResNet50"]

_BLOCKS = (3, 4, 6, 3)
_EXPANSION = 4


class WideResNet50(nn.Module):
    """Logits of images of `channels` x H x W.

    Args:
        width: w above, 1 or more.
        channels: channels of the image.
        classes: K, the number of classes.

    Raises:
        ModelError: the width is out of range.
    """

    def __init__(self, width: int = 64, *, channels: int = 3, classes: int = 10) -> None:
        super().__init__()
        if width < 1:
            raise ModelError("wide_resnet50: width is too small", expected="1 or more", got=str(width))
        self.conv1 = nn.Conv2d(channels, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        previous = width
        for stage, count in enumerate(_BLOCKS):
            planes = width * 2**stage
            blocks = [_bottleneck(previous, planes, stride=1 if stage == 0 else 2)]
            blocks += [_bottleneck(_EXPANSION * planes, planes) for _ in range(count - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            previous = _EXPANSION * planes
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(previous, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float [N, channels, H, W] -> logits [N, classes]."""
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage in range(len(_BLOCKS)):
            maps = self.get_submodule(f"layer{stage + 1}")(maps)
        logits: torch.Tensor = self.fc(torch.flatten(self.avgpool(maps), 1))
        return logits


def _bottleneck(previous: int, planes: int, *, stride: int = 1) -> nn.Module:
    shortcut = None
    if stride != 1 or previous != _EXPANSION * planes:
        out = _EXPANSION * planes
        shortcut = nn.Sequential(nn.Conv2d(previous, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))
    block: nn.Module = torchvision().models.resnet.Bottleneck(previous, planes, stride, shortcut, base_width=128)
    return block
