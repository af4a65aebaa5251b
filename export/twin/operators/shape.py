"""The twin's operators that only move numbers: integers stay integers, with their scale.

Signature as in `supported.py`: (attributes, *inputs) -> value; a missing optional input is None.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..values.levels import Levels
from ..values.scaled import Scaled, Value, dense
from ..windows import Attributes, text

__all__ = [
    "REPEATED",
    "axes_of",
    "concat",
    "depth_to_space",
    "expand",
    "flatten",
    "integers",
    "moved",
    "pad",
    "reshape",
    "slice_",
    "space_to_depth",
    "split",
    "squeeze",
    "tile",
    "transpose",
    "unsqueeze",
]


REPEATED = "repeated"
"""Attribute that the twin gives a Concat: the positions of the parts that are for one image and repeated for each."""


def moved(x: Value, move: Callable[[Tensor], Tensor]) -> Value:
    """`move(x)`, where what commutes with a positive scale acts on n and keeps s, if s is one number."""
    if isinstance(x, Levels):
        return Levels(move(x.q), move(x.path))
    if isinstance(x, Scaled) and x.s.numel() == 1:
        return Scaled(move(x.n), x.s, x.bound)
    return move(dense(x))


def integers(value: Value) -> list[int]:
    """Sizes, axes or indices, as Python's."""
    return [int(number) for number in dense(value).reshape(-1)]


def axes_of(axes: Value | None, attributes: Attributes) -> list[int] | None:
    """The axes of a node, an input from opset 13 on, an attribute before."""
    return attributes.get("axes") if axes is None else integers(axes)


def reshape(attributes: Attributes, x: Value, sizes: Value) -> Value:
    """Reshape; 0 copies a dimension, -1 is what is left."""
    wanted, copy = integers(sizes), not attributes.get("allowzero", 0)

    def move(a: Tensor) -> Tensor:
        shape = [a.shape[i] if s == 0 and copy else s for i, s in enumerate(wanted)]
        if 0 in shape and -1 in shape:  # no images: torch does not find what is left of nothing
            left = math.prod(filter(None, a.shape)) // math.prod(s for s in shape if s > 0)
            shape[shape.index(-1)] = left
        return a.reshape(shape)

    return moved(x, move)


def flatten(attributes: Attributes, x: Value) -> Value:
    """Flatten to a matrix; the dimensions before `axis` become its rows."""
    axis = attributes.get("axis", 1)
    return moved(x, lambda a: a.reshape(math.prod(a.shape[:axis]), math.prod(a.shape[axis:])))


def transpose(attributes: Attributes, x: Value) -> Value:
    """Transpose; without `perm` the dimensions are reversed."""
    return moved(x, lambda a: a.permute(attributes.get("perm", list(range(a.dim()))[::-1])))


def squeeze(attributes: Attributes, x: Value, axes: Value | None = None) -> Value:
    """Squeeze."""
    where = axes_of(axes, attributes)
    return moved(x, lambda a: a.squeeze() if where is None else a.squeeze(tuple(where)))


def unsqueeze(attributes: Attributes, x: Value, axes: Value | None = None) -> Value:
    """Unsqueeze; the axes count in the result."""
    where = axes_of(axes, attributes) or []

    def move(a: Tensor) -> Tensor:
        for axis in sorted(w % (a.dim() + len(where)) for w in where):
            a = a.unsqueeze(axis)
        return a

    return moved(x, move)


def slice_(attributes: Attributes, x: Value, *bounds: Value | None) -> Value:
    """Slice with inputs starts, ends, axes, steps."""
    starts, ends, axes, steps = [None if b is None else integers(b) for b in (*bounds, *[None] * 4)[:4]]
    starts = list(attributes["starts"]) if starts is None else starts
    ends = list(attributes["ends"]) if ends is None else ends
    axes = list(attributes.get("axes", range(len(starts)))) if axes is None else axes

    def move(a: Tensor) -> Tensor:
        index = [slice(None)] * a.dim()
        for axis, start, end, step in zip(axes, starts, ends, steps or [1] * len(starts), strict=True):
            kept = range(a.shape[axis])[start:end:step]
            if step > 0:
                index[axis] = slice(kept.start, kept.stop, step)
            else:  # torch's slices do not go backwards
                a = a.index_select(axis, torch.tensor(kept, dtype=torch.long, device=a.device))
        return a[tuple(index)]

    return moved(x, move)


def split(attributes: Attributes, x: Value, sizes: Value | None = None) -> tuple[Value, ...]:
    """Split into parts of given sizes, or into `num_outputs` parts of which the last may be smaller."""
    axis = attributes.get("axis", 0)
    known = attributes.get("split") if sizes is None else integers(sizes)
    total = (x.n if isinstance(x, Scaled) else dense(x)).shape[axis]
    size = -(-total // attributes["num_outputs"])
    ends = itertools.accumulate(known or [size] * attributes["num_outputs"])

    def part(start: int, end: int) -> Value:
        return moved(x, lambda a: a.narrow(axis, start, min(end, total) - start))

    return tuple(part(start, end) for start, end in itertools.pairwise([0, *ends]))


def concat(attributes: Attributes, *parts: Value) -> Value:
    """Concat, on real numbers: QLinearConcat's tables are DequantizeLinear -> QuantizeLinear on floats."""
    tensors = [dense(part) for part in parts]
    images = max((len(t) for i, t in enumerate(tensors) if i not in attributes.get(REPEATED, ())), default=1)
    for position in attributes.get(REPEATED, ()):
        tensors[position] = tensors[position].expand(images, *tensors[position].shape[1:])
    return torch.cat(tensors, attributes["axis"])


def expand(attributes: Attributes, x: Value, sizes: Value) -> Value:
    """Expand: x and the shape broadcast each other."""
    wanted = integers(sizes)
    return moved(x, lambda a: a.expand(torch.broadcast_shapes(a.shape, wanted)))  # type: ignore[no-untyped-call]


def tile(attributes: Attributes, x: Value, repeats: Value) -> Value:
    """Tile."""
    return moved(x, lambda a: a.tile(integers(repeats)))


def depth_to_space(attributes: Attributes, x: Value) -> Value:
    """DepthToSpace on [N, C, H, W]; in mode CRD the block's place is the last part of a channel's number."""
    size, last = attributes["blocksize"], text(attributes, "mode", "DCR") == "CRD"

    def move(a: Tensor) -> Tensor:
        n, c, h, w = a.shape
        kept = c // size**2
        parts = (n, kept, size, size, h, w) if last else (n, size, size, kept, h, w)
        order = (0, 1, 4, 2, 5, 3) if last else (0, 3, 4, 1, 5, 2)
        return a.reshape(parts).permute(order).reshape(n, kept, h * size, w * size)

    return moved(x, move)


def space_to_depth(attributes: Attributes, x: Value) -> Value:
    """SpaceToDepth on [N, C, H, W]."""
    size, last = attributes["blocksize"], text(attributes, "mode", "DCR") == "CRD"

    def move(a: Tensor) -> Tensor:
        n, c, h, w = a.shape
        order = (0, 1, 3, 5, 2, 4) if last else (0, 3, 5, 1, 2, 4)
        parts = a.reshape(n, c, h // size, size, w // size, size).permute(order)
        return parts.reshape(n, c * size**2, h // size, w // size)

    return moved(x, move)


def pad(attributes: Attributes, x: Value, *settings: Value | None) -> Value:
    """Pad with inputs pads, value, axes; a negative pad cuts off."""
    sizes, value, axes = (*settings, None, None, None)[:3]
    amounts = list(attributes["pads"]) if sizes is None else integers(sizes)
    a = dense(x)
    where = list(range(a.dim())) if axes is None else [axis % a.dim() for axis in integers(axes)]
    both = [(0, 0)] * a.dim()
    for position, axis in enumerate(where):
        both[axis] = (amounts[position], amounts[position + len(where)])
    mode = text(attributes, "mode", "constant")
    if mode == "constant":
        fill: Any = attributes.get("value", 0.0) if value is None else dense(value).item()
        return F.pad(a, [size for pair in reversed(both) for size in pair], value=fill)
    for axis, (before, after) in enumerate(both):
        if before or after:
            source = [_SOURCES[mode](i, a.shape[axis]) for i in range(-before, a.shape[axis] + after)]
            a = a.index_select(axis, torch.tensor(source, dtype=torch.long, device=a.device))
    return a


def _mirrored(i: int, size: int) -> int:
    i %= max(2 * size - 2, 1)
    return min(i, 2 * size - 2 - i) if size > 1 else 0


_SOURCES: dict[str, Callable[[int, int], int]] = {
    "edge": lambda i, size: min(max(i, 0), size - 1),
    "reflect": _mirrored,
    "wrap": lambda i, size: i % size,
}
"""Where the i-th of `size` numbers comes from."""
