"""VGG-16 for small images: configuration D of Simonyan & Zisserman 2015 (arXiv:1409.1556), with batch norm.

13 convolutions of 3 x 3 in five groups of widths w, 2w, 4w, 8w, 8w, a 2 x 2 max-pool behind each group, and three
linear layers: the network of "Deep Compression with Adversarial Robustness Via Decision Boundary Smoothing" (figure 9),
whose width is an option here. A pool needs two pixels, so images of less than 32 pixels have one pool less. Batch norm
is there because the network is trained from the start; dropout is left out.
"""

from __future__ import annotations

from torch import Tensor, nn

from ...runtime.errors import ModelError

__all__ = ["VGG16Small"]

_GROUPS = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
"""Width in units of w, and number of convolutions."""


class VGG16Small(nn.Module):
    """Thirteen convolutions and three linear layers, on images of `channels` x `image_size` x `image_size`.

    Args:
        width: channels of the first group, w above, 1 or more; 64 in the paper.
        hidden: units of each of the two hidden linear layers, 1 or more; 4096 in the paper.
        channels: channels of the image.
        classes: K, the number of classes.
        image_size: side of the image in pixels, 16 or more.

    Raises:
        ModelError: the images are too small.
    """

    def __init__(
        self, width: int = 64, *, hidden: int = 512, channels: int = 1, classes: int = 10, image_size: int = 28
    ) -> None:
        super().__init__()
        if image_size < 16:
            raise ModelError("vgg16-small: images are too small", expected="16 pixels or more", got=str(image_size))
        layers: list[nn.Module] = []
        previous, side = channels, image_size
        for factor, convolutions in _GROUPS:
            for _ in range(convolutions):
                layers += [
                    nn.Conv2d(previous, width * factor, kernel_size=3, padding=1, bias=False),
                    nn.BatchNorm2d(width * factor),
                    nn.ReLU(inplace=True),
                ]
                previous = width * factor
            if side > 1:
                layers.append(nn.MaxPool2d(kernel_size=2))
                side //= 2
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(previous * side**2, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """float [N, channels, image_size, image_size] -> logits [N, classes]."""
        logits: Tensor = self.classifier(self.features(images))
        return logits
