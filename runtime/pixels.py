"""From images to the 8-bit pixels that an engine takes: q = round(255 x), half to even.

The same rule, in the same float32 arithmetic, stands in the twin: an attacker's float image and the engine's pixels are
one image. A float model gets x = q / 255, so it too sees only what a camera can deliver.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError
from .pixel_hint import uint8_hint, unit_hint
from .shapes import Shaped, UInt8

__all__ = ["check_images", "to_pixels"]


def check_images(images: object, *, shape: tuple[int, int, int]) -> Shaped[NDArray[Any], "n c h w"]:
    """`images` as a plain array [N, C, H, W] of uint8 or float with (C, H, W) = `shape`.

    Values are looked at only for an error's fix. Of a masked array all values
    count, those under the mask too.

    Raises:
        ImageError: no numpy array, another type, another shape.
    """
    expected = f"[N, {', '.join(str(size) for size in shape)}]"
    if not isinstance(images, np.ndarray):
        got = f"{type(images).__module__}.{type(images).__qualname__}"
        raise ImageError("images", expected=f"a numpy array {expected}", got=got, fix="numpy.asarray(images)")
    images = np.asarray(images)
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        fix = uint8_hint(images)
        raise ImageError("images", expected="uint8 pixels, or floats in [0, 1]", got=str(images.dtype), fix=fix)
    if images.ndim == 3 and images.shape == shape:
        raise ImageError(
            "images", expected=expected, got=str(list(images.shape)), fix="add the batch axis: images[None]"
        )
    if images.ndim != 4 or images.shape[1:] != shape:
        last = images.ndim == 4 and images.shape[1:] == (*shape[1:], shape[0])
        fix = "put the channels first: images.transpose(0, 3, 1, 2)" if last else ""
        raise ImageError("images", expected=expected, got=str(list(images.shape)), fix=fix)
    return images


def to_pixels(images: Shaped[NDArray[Any], " n *image"], *, first: int = 0) -> UInt8[NDArray[np.uint8], " n *image"]:
    """Images [N, ...] of uint8 or of floats in [0, 1] as uint8 pixels of the same shape.

    Args:
        images: uint8, returned as it is, or any float type; float16 is computed in float32.
        first: what to call images[0] in an error, where `images` is a piece of a longer array.

    Raises:
        ImageError: a value is not finite or lies outside [0, 1].
    """
    if images.dtype == np.uint8:
        return images
    with np.errstate(invalid="ignore"):
        # NaN compares false, so it is caught here too.
        inside = (images >= 0) & (images <= 1)
    if not inside.all():
        position = tuple(int(axis) for axis in np.argwhere(~inside)[0])
        where = ", ".join(str(axis) for axis in (first + position[0], *position[1:]))
        value = images[position]
        fix = unit_hint(images)
        raise ImageError(f"images[{where}]", expected="a finite value in [0, 1]", got=str(value), fix=fix)
    wide = images.astype(np.promote_types(images.dtype, np.float32), copy=False)
    pixels: NDArray[np.uint8] = np.rint(wide * wide.dtype.type(255)).astype(np.uint8)
    return pixels
