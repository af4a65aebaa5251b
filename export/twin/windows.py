"""Kernels, strides and paddings of ONNX's Conv and pools, in the form that torch takes, in 1, 2 or 3 dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from ...runtime.shapes import Shaped

__all__ = ["Attributes", "Window", "pad_window", "places", "text", "window"]

Attributes = Mapping[str, Any]

Sizes = tuple[int, ...]


class Window(NamedTuple):
    """A sliding window; `pads` are those at the start of each dimension, then those at the end."""

    kernel: Sizes
    strides: Sizes
    dilations: Sizes
    pads: Sizes

    @property
    def first(self) -> Sizes:
        """The paddings at the start of each dimension."""
        return self.pads[: len(self.kernel)]

    @property
    def last(self) -> Sizes:
        """The paddings at the end of each dimension."""
        return self.pads[len(self.kernel) :]


def window(attributes: Attributes, size: Sizes, kernel: Sizes | None = None) -> Window:
    """The window that a node's attributes describe on an input of `size`, (H, W) for images."""
    k = kernel or _sizes(attributes["kernel_shape"])
    ones = (1,) * len(k)
    strides, dilations = _sizes(attributes.get("strides") or ones), _sizes(attributes.get("dilations") or ones)
    mode = text(attributes, "auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        total = [
            max((-(-s // stride) - 1) * stride + (length - 1) * dilation + 1 - s, 0)
            for s, stride, length, dilation in zip(size, strides, k, dilations, strict=True)
        ]
        less = [t // 2 for t in total]
        more = [t - part for t, part in zip(total, less, strict=True)]
        return Window(k, strides, dilations, (*less, *more) if mode == "SAME_UPPER" else (*more, *less))
    pads = attributes.get("pads") if mode == "NOTSET" else None
    return Window(k, strides, dilations, _sizes(pads or (0,) * (2 * len(k))))


def text(attributes: Attributes, name: str, default: str) -> str:
    """A string attribute; ONNX keeps strings as bytes."""
    value = attributes.get(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


def pad_window(x: Shaped[Tensor, "n c ..."], settings: Window, value: float) -> tuple[Shaped[Tensor, "n c ..."], Sizes]:
    """`x` and the symmetric padding left for torch; a lopsided padding is applied to `x` itself."""
    if settings.first == settings.last:
        return x, settings.first
    both = [pad for pair in zip(reversed(settings.first), reversed(settings.last), strict=True) for pad in pair]
    return F.pad(x, both, value=value), (0,) * len(settings.kernel)


def places(settings: Window, size: Sizes, *, ceil: bool) -> Sizes:
    """How many windows there are along each dimension; with `ceil` the last may reach over the end it starts before."""
    found = []
    for length, kernel, stride, dilation, first, last in zip(
        size, *settings[:3], settings.first, settings.last, strict=True
    ):
        room = length + first + last - (kernel - 1) * dilation - 1
        count = (-(-room // stride) if ceil else room // stride) + 1
        found.append(count - 1 if ceil and (count - 1) * stride >= length + first else count)
    return tuple(found)


def _sizes(values: Any) -> Sizes:
    return tuple(int(v) for v in values)
