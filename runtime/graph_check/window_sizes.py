"""How large the outputs of convolutions and pools are.

Of a window k with dilation d, stride s and pads p on both sides (onnx/docs/Operators.md, Conv and MaxPool):

    out = floor((in + p - d (k - 1) - 1) / s) + 1

with ceil in place of floor where ceil_mode is set, unless the last window would then start behind the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .given import Given, Rule, Shape, need
from .limits import MOST_ELEMENTS

__all__ = ["conv", "global_pool", "pool"]


def _window(given: Given, inside: Shape, kernel: Shape) -> Shape:
    """The spatial sizes behind a window."""
    rank = len(inside)
    read = {name: given.attributes.get(name) for name in (b"strides", b"dilations", b"pads")}
    ones = (1,) * rank
    strides, dilations, pads = (
        default if (attribute := read[name]) is None else attribute.numbers
        for name, default in ((b"strides", ones), (b"dilations", ones), (b"pads", (0,) * 2 * rank))
    )
    need(len(kernel) == len(strides) == len(dilations) == rank and len(pads) == 2 * rank)
    need(min((*kernel, *strides, *dilations), default=1) >= 1 and min(pads, default=0) >= 0)
    auto = given.attributes.get(b"auto_pad")
    way = b"NOTSET" if auto is None else auto.text
    need(way in (b"NOTSET", b"VALID", b"SAME_UPPER", b"SAME_LOWER"))
    found = []
    for axis, (size, k, s, d) in enumerate(zip(inside, kernel, strides, dilations, strict=True)):
        if way in (b"SAME_UPPER", b"SAME_LOWER"):
            need(d == 1)  # ONNX Runtime has a rule of its own there
            found.append(-(-size // s))
            continue
        before, behind = (pads[axis], pads[rank + axis]) if way == b"NOTSET" else (0, 0)
        room = size + before + behind - d * (k - 1) - 1
        need(room >= 0)
        steps = room // s
        if given.number(b"ceil_mode", 0) and steps * s < room and (steps + 1) * s < size + before:
            steps += 1  # a window that starts behind the image is none
        found.append(steps + 1)
    return tuple(found)


def conv(place: int) -> Rule:
    def rule(given: Given) -> Sequence[Shape]:
        x, w = given.shape(0), given.shape(place)
        need(len(x) == len(w) >= 3 and given.number(b"group", 1) >= 1 and not given.number(b"channels_last", 0))
        out = _window(given, x[2:], w[2:])
        shape = (x[0], w[0], *out)
        # some kernels lay all windows out; what is too large itself is refused, not tried
        need(math.prod(w[1:]) * math.prod(out) <= MOST_ELEMENTS or math.prod(shape) > MOST_ELEMENTS)
        return [shape]

    return rule


def pool(given: Given) -> Sequence[Shape]:
    x, kernel = given.shape(0), given.attributes.get(b"kernel_shape")
    need(len(x) >= 3 and kernel is not None and not given.number(b"channels_last", 0))
    out = (*x[:2], *_window(given, x[2:], kernel.numbers if kernel else ()))
    return [out] * 2


def global_pool(given: Given) -> Sequence[Shape]:
    x = given.shape(0)
    need(len(x) >= 3 and not given.number(b"channels_last", 0))
    return [(*x[:2], *(1 for _ in x[2:]))]
