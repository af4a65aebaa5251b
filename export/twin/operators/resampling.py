"""The twin's Resize to the nearest number: an index for each place along each axis.

    x(i) = i / scale                    asymmetric
    x(i) = (i + 1/2) / scale - 1/2      half_pixel; pytorch_half_pixel, but 0 where the result has one place
    x(i) = i (n - 1) / (m - 1)          align_corners, from n to m places

rounded as `nearest_mode` says, in float32 as ONNX Runtime does (core/providers/cpu/tensor/upsamplebase.h).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..values.scaled import Scaled, Value, dense
from ..windows import Attributes, text
from .shape import integers, moved

__all__ = ["COORDINATES", "ROUNDINGS", "resize"]

_Float = np.float32

COORDINATES: dict[str, Callable[[_Float, _Float, int, int], _Float]] = {
    "align_corners": lambda i, scale, n, m: _Float(0) if m == 1 else i * _Float(n - 1) / _Float(m - 1),
    "asymmetric": lambda i, scale, n, m: i / scale,
    "half_pixel": lambda i, scale, n, m: (i + _Float(0.5)) / scale - _Float(0.5),
    "pytorch_half_pixel": lambda i, scale, n, m: (i + _Float(0.5)) / scale - _Float(0.5) if m > 1 else _Float(0),
}
"""(i, scale, n, m) -> x."""

ROUNDINGS: dict[str, Callable[[_Float], float]] = {
    "ceil": np.ceil,
    "floor": np.floor,
    "round_prefer_ceil": lambda x: np.floor(x + _Float(0.5)),
    "round_prefer_floor": lambda x: np.ceil(x - _Float(0.5)),
}


def resize(
    attributes: Attributes, x: Value, roi: Value | None = None, scales: Value | None = None, sizes: Value | None = None
) -> Value:
    """Resize with `mode` nearest."""
    before = (x.n if isinstance(x, Scaled) else dense(x)).shape
    if scales is not None and dense(scales).numel():
        factors = [_Float(factor) for factor in dense(scales).tolist()]
        after = [int(n * factor) for n, factor in zip(before, factors, strict=True)]
    else:
        assert sizes is not None
        after = integers(sizes)
        factors = [_Float(m) / _Float(n) for n, m in zip(before, after, strict=True)]
    place = COORDINATES[text(attributes, "coordinate_transformation_mode", "half_pixel")]
    rounded = ROUNDINGS[text(attributes, "nearest_mode", "round_prefer_floor")]
    for axis, (n, m, factor) in enumerate(zip(before, after, factors, strict=True)):
        if factor != 1:
            found = [min(max(int(rounded(place(_Float(i), factor, n, m))), 0), n - 1) for i in range(m)]
            index = torch.tensor(found, dtype=torch.long)
            x = moved(x, lambda a, axis=axis, index=index: a.index_select(axis, index.to(a.device)))  # type: ignore[misc]
    return x
