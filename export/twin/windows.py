"""Kernels, strides and paddings of ONNX's Conv and pools, in the form that torch takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from ...runtime.shapes import Shaped

__all__ = ["Attributes", "Window", "pad_window", "text", "window"]

Attributes = Mapping[str, Any]


class Window(NamedTuple):
    """A sliding window; `pads` is (top, left, bottom, right)."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]


def window(attributes: Attributes, size: tuple[int, int], kernel: tuple[int, int] | None = None) -> Window:
    """The window that a node's attributes describe on an input of `size` (H, W)."""
    k = kernel or _pair(attributes["kernel_shape"])
    strides, dilations = _pair(attributes.get("strides", (1, 1))), _pair(attributes.get("dilations", (1, 1)))
    mode = text(attributes, "auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        total = [
            max((-(-size[i] // strides[i]) - 1) * strides[i] + (k[i] - 1) * dilations[i] + 1 - size[i], 0)
            for i in (0, 1)
        ]
        less = [t // 2 for t in total]
        more = [t - part for t, part in zip(total, less, strict=True)]
        first, last = (less, more) if mode == "SAME_UPPER" else (more, less)
        return Window(k, strides, dilations, (first[0], first[1], last[0], last[1]))
    pads = tuple(int(p) for p in attributes.get("pads", (0, 0, 0, 0))) if mode == "NOTSET" else (0, 0, 0, 0)
    return Window(k, strides, dilations, (pads[0], pads[1], pads[2], pads[3]))


def text(attributes: Attributes, name: str, default: str) -> str:
    """A string attribute; ONNX keeps strings as bytes."""
    value = attributes.get(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


def pad_window(
    x: Shaped[Tensor, "n c h w"], settings: Window, value: float
) -> tuple[Shaped[Tensor, "n c ph pw"], tuple[int, int]]:
    """`x` and the symmetric padding left for torch; a lopsided padding is applied to `x` itself."""
    top, left, bottom, right = settings.pads
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def _pair(values: Any) -> tuple[int, int]:
    first, second = (int(v) for v in values)
    return first, second
