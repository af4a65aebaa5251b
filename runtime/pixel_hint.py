"""How an array that holds no pixels yet becomes one that does: the fix of an error.

Rule: a cast to uint8 wraps (300 becomes 44, -1 becomes 255) or cuts 0.7 down to 0, and to divide by 255 what was
normalized makes it black. So what to advise depends on the values that are there; where nothing is right, nothing is
advised but to undo what was done.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .shapes import Shaped

__all__ = ["uint8_hint", "unit_hint"]

_UNDO = "undo the normalization first: pixels are 0..255, and floats are pixels / 255"
_ROUNDING = 1e-3
"""How far arithmetic alone may lead out of [0, 1]; less than a pixel's 1/255."""


def uint8_hint(array: Shaped[NDArray[Any], " ..."]) -> str:
    """How `array`, of another type, becomes uint8 pixels; the hint calls it x. "" where it holds no real numbers."""
    if array.dtype == np.bool_:
        return "255 * x.astype(numpy.uint8)"
    if array.dtype.kind not in "iuf" or array.size == 0:
        return ""
    low, high, floats = array.min(), array.max(), array.dtype.kind == "f"
    if not (np.isfinite(low) and np.isfinite(high)):
        return "replace what is not finite"
    if low < 0 or high > (255 if floats else 65535):
        return _UNDO
    unit, deep = floats and high <= 1, high > 255
    pixels = "255 * x" if unit else "x // 256" if deep else "x"
    where = "in [0, 1]" if unit else "in 0..65535" if deep else "in 0..255"
    return f"the values lie {where}: numpy.rint({pixels}).astype(numpy.uint8)"


def unit_hint(array: Shaped[NDArray[Any], " ..."]) -> str:
    """How floats `array` come to lie in [0, 1]; "" where values are not finite."""
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return ""
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return "numpy.clip(images, 0, 1)"
    if low >= 0 and high <= 255 and np.array_equal(array, np.rint(array)):
        return "divide pixels by 255"
    return _UNDO
