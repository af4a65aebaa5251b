"""Images of one size: the shorter side is scaled to `size`, then the middle `size` x `size` pixels are cut out.

The rule of the ImageNet evaluations (torchvision's `Resize(size)` and `CenterCrop(size)`): long becomes
int(size * long / short), bilinear with antialiasing; the crop starts at round((side - size) / 2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...runtime.errors import DataError, MissingExtraError
from .dataset import Images

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["LARGEST_SIZE", "check_size", "resize", "resize_batch"]


LARGEST_SIZE = 4096
"""In pixels."""


def resize(image: PIL.Image.Image, size: int) -> PIL.Image.Image:
    """`image`, mode "L" or "RGB", as `size` x `size` pixels."""
    import PIL.Image

    width, height = image.size
    short = min(width, height)
    if short != size:
        width, height = (int(size * side / short) for side in image.size)
        image = image.resize((width, height), PIL.Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def resize_batch(images: Images, size: int) -> Images:
    """uint8 [N, C, H, W] -> uint8 [N, C, size, size]; the same array where H = W = size.

    Raises:
        DataError: size < 1 or size > LARGEST_SIZE.
        MissingExtraError: Pillow is not installed.
    """
    check_size(size)
    if images.shape[2:] == (size, size):
        return images
    try:
        import PIL.Image
    except ModuleNotFoundError:
        raise MissingExtraError("pillow", extra="build", feature="resizing images") from None
    count, channels = images.shape[:2]
    result = np.empty((count, channels, size, size), np.uint8)
    for index, image in enumerate(images):
        pixels = image[0] if channels == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
        resized = np.asarray(resize(PIL.Image.fromarray(pixels), size))
        result[index] = resized if channels == 1 else resized.transpose(2, 0, 1)
    return result


def check_size(size: int) -> None:
    """A DataError unless `size` is a side length."""
    if not 1 <= size <= LARGEST_SIZE:
        raise DataError("the image size is not a side length", expected=f"1 to {LARGEST_SIZE} pixels", got=str(size))
