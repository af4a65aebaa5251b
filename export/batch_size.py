"""How many images at once, by what their values take: of a deep network at 224 pixels one image has hundreds of
megabytes of activations."""

from __future__ import annotations

__all__ = ["MOST_BYTES", "batch_size"]

MOST_BYTES = 1 << 30
"""Of the values of one batch."""


def batch_size(bytes_of_one: int, *, most: int) -> int:
    """1 to `most` images, whose values take no more than `MOST_BYTES` if one image's do not.

    Args:
        bytes_of_one: what one image's values take, 0 or more.
        most: images.
    """
    return min(max(MOST_BYTES // max(bytes_of_one, 1), 1), most)
