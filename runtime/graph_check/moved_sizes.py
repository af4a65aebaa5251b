"""How large the outputs of operators are that move values about, cut them out or sum them up."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .given import Given, Shape, axis_of, need
from .limits import MOST_RANK

__all__ = ["flatten", "gather", "pad", "reduced", "reshape", "slice_", "split", "squeeze", "transpose", "unsqueeze"]


def flatten(given: Given) -> Sequence[Shape]:
    x, axis = given.shape(0), given.number(b"axis", 1)
    need(-len(x) <= axis <= len(x))
    axis += len(x) if axis < 0 else 0
    return [(math.prod(x[:axis]), math.prod(x[axis:]))]


def reshape(given: Given) -> Sequence[Shape]:
    x, wanted = given.shape(0), given.numbers(b"shape", 1)
    need(wanted is not None and len(wanted) <= MOST_RANK and not given.number(b"allowzero", 0))
    sizes = list(wanted or ())
    for place, size in enumerate(sizes):
        need(size >= -1 and (size != 0 or place < len(x)))
        sizes[place] = x[place] if size == 0 else size
    need(sizes.count(-1) <= 1)
    if -1 in sizes:
        known = -math.prod(sizes)
        need(known > 0)
        sizes[sizes.index(-1)] = math.prod(x) // known
    need(math.prod(sizes) == math.prod(x))
    return [tuple(sizes)]


def transpose(given: Given) -> Sequence[Shape]:
    x, perm = given.shape(0), given.attributes.get(b"perm")
    order = tuple(reversed(range(len(x)))) if perm is None else perm.numbers
    need(sorted(order) == list(range(len(x))))
    return [tuple(x[axis] for axis in order)]


def squeeze(given: Given) -> Sequence[Shape]:
    x, axes = given.shape(0), given.numbers(b"axes", 1)
    need(axes != ())
    gone = (
        {axis for axis, size in enumerate(x) if size == 1} if axes is None else {axis_of(axis, len(x)) for axis in axes}
    )
    need(all(x[axis] == 1 for axis in gone))
    return [tuple(size for axis, size in enumerate(x) if axis not in gone)]


def unsqueeze(given: Given) -> Sequence[Shape]:
    x, axes = given.shape(0), given.numbers(b"axes", 1) or ()
    rank = len(x) + len(axes)
    new = {axis_of(axis, rank) for axis in axes}
    need(len(new) == len(axes) > 0)
    sizes = iter(x)
    return [tuple(1 if axis in new else next(sizes) for axis in range(rank))]


def slice_(given: Given) -> Sequence[Shape]:
    x, starts, ends = given.shape(0), given.numbers(b"starts", 1), given.numbers(b"ends", 2)
    need(starts is not None and ends is not None)
    starts, ends = starts or (), ends or ()
    axes, steps = given.numbers(b"axes", 3), given.numbers(b"steps", 4)
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    need(len(starts) == len(ends) == len(axes) == len(steps) and 0 not in steps)
    sizes = list(x)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis_of(axis, len(x))
        first, last, _ = slice(start, end, step).indices(x[place])
        if step < 0 < x[place]:
            first = max(first, 0)  # unlike Python, ONNX starts at the first element where the start lies before it
        sizes[place] = len(range(first, last, step))
    return [tuple(sizes)]


def gather(given: Given) -> Sequence[Shape]:
    x, indices = given.shape(0), given.shape(1)
    axis = axis_of(given.number(b"axis", 0), len(x))
    return [(*x[:axis], *indices, *x[axis + 1 :])]


def split(given: Given) -> Sequence[Shape]:
    x, n = given.shape(0), given.outputs
    axis = axis_of(given.number(b"axis", 0), len(x))
    sizes = given.numbers(b"split", 1)
    need(n >= 1 and given.number(b"num_outputs", n) == n)
    if sizes is None:
        part = -(-x[axis] // n)
        sizes = (part,) * (n - 1) + (x[axis] - part * (n - 1),)
    need(len(sizes) == n and min(sizes) >= 0 and sum(sizes) == x[axis])
    return [(*x[:axis], size, *x[axis + 1 :]) for size in sizes]


def reduced(given: Given) -> Sequence[Shape]:
    x, axes = given.shape(0), given.numbers(b"axes", 1)
    if not axes and given.number(b"noop_with_empty_axes", 0):
        return [x]
    gone = {axis_of(axis, len(x)) for axis in axes} if axes else set(range(len(x)))
    kept = given.number(b"keepdims", 1)
    return [tuple(1 if axis in gone else size for axis, size in enumerate(x) if kept or axis not in gone)]


def pad(given: Given) -> Sequence[Shape]:
    x, pads = given.shape(0), given.numbers(b"pads", 1)
    need(pads is not None and not given.has(3))
    pads = pads or ()
    need(len(pads) == 2 * len(x))
    sizes = tuple(size + pads[axis] + pads[len(x) + axis] for axis, size in enumerate(x))
    need(min(sizes, default=1) >= 1)
    return [sizes]
