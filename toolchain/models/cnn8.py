"""The small network of the experiments on Fashion-MNIST.

"A simple 8-layer CNN with 6 convolutional blocks and 2 fully-connected layers" (Adversarial fine-tuning of compressed
neural networks, section 4, "Data and models"). The paper gives neither width nor kernel size, so the width is an
option. Here a block is a 3 x 3 convolution without bias, batch norm and ReLU; the widths are w, w, 2w, 2w, 4w, 4w; a
2 x 2 max-pool follows every second block.
"""

from __future__ import annotations

import torch
from torch import nn

from ...runtime.errors import ModelError

__all__ = ["CNN8"]


class CNN8(nn.Module):
    """Six convolution blocks and two fully connected layers, on images of `channels` x `image_size` x `image_size`.

    Args:
        width: channels of the first block, w above, 1 or more. The paper does not give it.
        hidden: units of the first fully connected layer, 1 or more.
        channels: channels of the image.
        classes: K, the number of classes.
        image_size: side of the image in pixels, 8 or more; the poolings halve it three times (28 -> 14 -> 7 -> 3).

    Raises:
        ModelError: an argument is out of range.
    """

    def __init__(
        self, width: int = 48, *, hidden: int = 128, channels: int = 1, classes: int = 10, image_size: int = 28
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("width", width, 1),
            ("hidden", hidden, 1),
            ("channels", channels, 1),
            ("classes", classes, 1),
            ("image_size", image_size, 8),
        ):
            if value < least:
                raise ModelError(f"cnn8: {name} is too small", expected=f"{least} or more", got=str(value))
        layers: list[nn.Module] = []
        previous = channels
        for block, factor in enumerate((1, 1, 2, 2, 4, 4)):
            layers += [
                nn.Conv2d(previous, width * factor, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(width * factor),
                nn.ReLU(inplace=True),
            ]
            if block % 2 == 1:
                layers.append(nn.MaxPool2d(kernel_size=2))
            previous = width * factor
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(previous * (image_size // 8) ** 2, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """float [N, channels, image_size, image_size] -> logits [N, classes]."""
        logits: torch.Tensor = self.classifier(self.features(images))
        return logits
