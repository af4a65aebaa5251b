"""LeNet, as ATMC's paper counts it: 430,500 weights, 13,776,000 bits (Gui et al. 2019, arXiv:1902.03538, table 1).

These are Caffe's numbers of LeCun et al. 1998: two 5 x 5 convolutions of 20 and 50 channels without padding, a 2 x 2
max-pool behind each, and linear layers of 500 units and K classes; one ReLU, between the linear layers.
"""

from __future__ import annotations

from torch import Tensor, nn

from ...runtime.errors import ModelError

__all__ = ["LeNet"]


class LeNet(nn.Module):
    """Two convolutions and two linear layers, on images of `channels` x `image_size` x `image_size`.

    Args:
        width: channels of the first convolution, 1 or more; the second one has 5/2 of them, rounded down, 1 or more.
        hidden: units of the hidden linear layer, 1 or more.
        channels: channels of the image.
        classes: K, the number of classes.
        image_size: side of the image in pixels, 16 or more; 28 -> 24 -> 12 -> 8 -> 4.

    Raises:
        ModelError: the images are too small.
    """

    def __init__(
        self, width: int = 20, *, hidden: int = 500, channels: int = 1, classes: int = 10, image_size: int = 28
    ) -> None:
        super().__init__()
        if image_size < 16:
            raise ModelError("lenet: images are too small", expected="16 pixels or more", got=str(image_size))
        second = max(1, 5 * width // 2)
        side = ((image_size - 4) // 2 - 4) // 2
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, kernel_size=5),
            nn.MaxPool2d(kernel_size=2),
            nn.Conv2d(width, second, kernel_size=5),
            nn.MaxPool2d(kernel_size=2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(second * side**2, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """float [N, channels, image_size, image_size] -> logits [N, classes]."""
        logits: Tensor = self.classifier(self.features(images))
        return logits
