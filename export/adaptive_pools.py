"""torch's adaptive pools, exported as operators that integer kernels know.

    window i of h over H rows:   floor(i H / h)  to  ceil((i + 1) H / h)      (torch.nn.AdaptiveAvgPool2d)

Windows of one size at equal distances are a pool. Others are made so first: Gather lays the rows of all windows side by
side, each row so often that every window has lcm(sizes) of them. Neither a mean nor a maximum changes by that. A map
may grow so, from 1 x 1 to 6 x 6 by a Gather alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript import opset18 as op

__all__ = ["ADAPTIVE_POOLS"]


def _mean(x: Any, output_size: Sequence[int]) -> Any:
    return op.GlobalAveragePool(x) if list(output_size) == [1, 1] else _pooled(op.AveragePool, x, output_size)


def _maximum(x: Any, output_size: Sequence[int]) -> Any:
    y = op.GlobalMaxPool(x) if list(output_size) == [1, 1] else _pooled(_max_pool, x, output_size)
    return y, y  # torch gives the places too, which nothing reads


ADAPTIVE_POOLS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten._adaptive_avg_pool2d.default: _mean,
    torch.ops.aten.adaptive_avg_pool2d.default: _mean,
    torch.ops.aten.adaptive_max_pool2d.default: _maximum,
}
"""What the exporter translates with these instead: a torch operator -> a function of its arguments."""


def _max_pool(x: Any, **window: Any) -> Any:
    return op.MaxPool(x, **window)[0]


def _pooled(pool: Callable[..., Any], x: Any, output_size: Sequence[int]) -> Any:
    kernel, strides, sizes = [1, 1], [1, 1], x.shape[2:]
    for axis, (size, wanted) in enumerate(zip(sizes, output_size, strict=True)):
        windows = _windows(size, size if wanted is None else int(wanted))
        even = _even(windows)
        if even is None:
            width = math.lcm(*map(len, windows))
            rows = [row for window in windows for row in window for _ in range(width // len(window))]
            indices: Any = op.Constant(value_ints=rows)
            x = op.Gather(x, indices, axis=2 + axis)
            even = width, width
        kernel[axis], strides[axis] = even
    return x if kernel == [1, 1] else pool(x, kernel_shape=kernel, strides=strides)


def _windows(size: int, count: int) -> list[range]:
    return [range(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _even(windows: list[range]) -> tuple[int, int] | None:
    """Kernel and stride, where all windows have one size and one distance; None elsewhere."""
    starts, step = [window.start for window in windows], len(windows[0]) if len(windows) == 1 else windows[1].start
    if {len(window) for window in windows} != {len(windows[0])} or step == 0:
        return None
    return (len(windows[0]), step) if starts == list(range(0, step * len(windows), step)) else None
