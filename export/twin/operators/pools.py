"""The twin's pools, in 1, 2 or 3 dimensions.

The largest value of a window, padding never wins; or its mean, over what lies in the image or, with
`count_include_pad`, in the padded image.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ....runtime.errors import UnsupportedOperatorError
from ..values.levels import Levels, max_pooled
from ..values.scaled import Averages, Scaled, Value, dense
from ..windows import Attributes, Window, pad_window, places, window
from .integer import spatial
from .shape import moved

__all__ = ["average_pool", "global_max_pool", "max_pool"]

_MAX_POOLS: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE_POOLS: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def max_pool(attributes: Attributes, x: Value) -> Value:
    """MaxPool."""
    settings, ceil = _window(attributes, x), bool(attributes.get("ceil_mode", 0))
    if settings.kernel == settings.strides == (1,) * len(settings.kernel) and not any(settings.pads):
        return x
    if isinstance(x, Levels) and x.q.dim() == 4:
        q, pads = pad_window(x.q, settings, 0)
        path, _ = pad_window(x.path, settings, 0)
        y = max_pooled(Levels(q, path), (settings.kernel, settings.strides, pads, settings.dilations, ceil))
        return moved(y, lambda a: _cropped(a, settings, x.q, ceil=ceil))

    def move(a: Tensor) -> Tensor:
        real = a if a.is_floating_point() else a.double()
        real, pads = pad_window(real, settings, -math.inf)
        pool = _MAX_POOLS[len(settings.kernel)]
        y = pool(real, settings.kernel, settings.strides, pads, settings.dilations, ceil).to(a.dtype)
        return _cropped(y, settings, a, ceil=ceil)

    return moved(x, move)


def global_max_pool(attributes: Attributes, x: Value) -> Value:
    """GlobalMaxPool."""
    return moved(x, lambda a: a.amax(tuple(range(2, a.dim())), keepdim=True))


def average_pool(attributes: Attributes, x: Value) -> Value:
    """AveragePool, on real numbers, summed in the order of rows: as QLinearAveragePool does."""
    y = _averages(attributes, dense(x))
    return Averages(y) if isinstance(x, Scaled) and x.zero is not None else y


def _averages(attributes: Attributes, a: Tensor) -> Tensor:
    settings = _window(attributes, a)
    pool = _AVERAGE_POOLS[len(settings.kernel)]
    include, ceil = bool(attributes.get("count_include_pad", 0)), bool(attributes.get("ceil_mode", 0))
    if include or settings.first == settings.last:
        padded, pads = pad_window(a, settings, 0.0)
        return _cropped(pool(padded, settings.kernel, settings.strides, pads, ceil, include), settings, a, ceil=ceil)
    both = [pad for pair in zip(reversed(settings.first), reversed(settings.last), strict=True) for pad in pair]
    line = len(settings.kernel) == 1  # torch sums no windows of one dimension
    kernel, strides = ((1, *sizes) if line else sizes for sizes in (settings.kernel, settings.strides))
    total = F.avg_pool3d if len(kernel) == 3 else F.avg_pool2d

    def sums(values: Tensor) -> Tensor:
        padded = F.pad(values, both)
        y = total(padded.unsqueeze(2) if line else padded, kernel, strides, 0, ceil, divisor_override=1)
        return _cropped(y.squeeze(2) if line else y, settings, a, ceil=ceil)

    return sums(a) / sums(torch.ones_like(a))  # one division, as in ONNX Runtime


def _cropped(y: Tensor, settings: Window, x: Tensor, *, ceil: bool) -> Tensor:
    """Without windows that start behind the end of `x`: torch makes them where the padding was applied beforehand."""
    sizes = places(settings, tuple(x.shape[2:]), ceil=ceil)
    return y if tuple(y.shape[2:]) == sizes else _first(y, sizes)


def _first(y: Tensor, sizes: tuple[int, ...]) -> Tensor:
    for axis, size in enumerate(sizes, start=2):
        y = y.narrow(axis, 0, size)
    return y


def _window(attributes: Attributes, x: Value) -> Window:
    sizes, kernel = spatial(x), attributes["kernel_shape"]
    if len(sizes) != len(kernel) or len(kernel) not in _MAX_POOLS:
        raise UnsupportedOperatorError(
            "its image", expected=f"a map of {len(kernel)} dimensions, at most 3", got=f"one of {len(sizes)}"
        )
    return window(attributes, sizes)
