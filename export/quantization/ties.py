"""How near a function of one 8-bit tensor comes to a rounding tie, and a scale that keeps it away.

    q_y = clamp(round(f(s_x (q_x - z_x)) / s) + z_y)        for the 256 values of q_x

Two engines evaluate f in float32 with errors of their own, in the last bits of exp or erf. They give the same table
unless f / s lies within these errors of a tie, k + 1/2. So the table is evaluated here, in float64, when the graph is
made. Where an entry is nearer to a tie than `NEAREST` steps, or than eight times the largest error of float32, the
quantizer divides by a scale beside the grid's own, s = s_y (1 + d), |d| <= 2^-8: the first of a short list that keeps
every entry away. Results move by less than one step in that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from torch import Tensor

from ...runtime.errors import HardtemperError
from ...runtime.shapes import Float64
from ..integer_types import UINT8
from ..passes.values import constant
from ..twin.nodes import ELEMENT_TYPE, RESULT_TYPE
from ..twin.operators.supported import OPERATORS
from ..twin.values.scaled import dense
from .scheme import Grid

__all__ = ["NEAREST", "Table", "distance", "rounding_scale", "table_of"]

NEAREST = 2.0**-12
"""Steps of the result: errors of 2^-22 of 255 steps, as float32 has, stay four times below."""

Table = tuple[Float64[npt.NDArray[np.float64], "256 ..."], float]
"""The function at every integer, and the largest error of float32 there."""

_BESIDE = [0.0, *(sign * 2.0**-k for k in range(12, 7, -1) for sign in (1, -1))]


def table_of(x: ir.Value, grid: Grid, nodes: Sequence[ir.Node], y: ir.Value) -> Table | None:
    """The function that `nodes` are of `x` on `grid`; None where it is none of each number alone.

    Args:
        x: the tensor that they read.
        nodes: elementwise ones, in graph order.
        y: their result.
    """
    if x.shape is None:
        return None
    numbers = (np.arange(UINT8.low, UINT8.high + 1) - grid.zero_point) * grid.scale
    shape = (-1, *[1] * (len(x.shape) - 1))
    try:
        exact, single = (
            _evaluate(torch.from_numpy(numbers.astype(kind)).reshape(shape), x, nodes, y)
            for kind in (np.float64, np.float32)
        )
    except (HardtemperError, RuntimeError):  # constants of another shape than an image's
        return None
    if len(exact) != len(numbers) or not np.isfinite(exact).all():
        return None
    return exact, float(np.abs(exact - single).max())


def rounding_scale(table: Table, grid: Grid) -> tuple[float, float]:
    """The scale to divide by, float32, and how far from a tie every entry then is, in steps; the best if none will do.

    Args:
        table: of the function.
        grid: of its result.
    """
    exact, error = table
    enough = max(NEAREST, 8 * error / grid.scale)
    found = [(float(np.float32(grid.scale * (1 + d))), d) for d in _BESIDE]
    distances = [distance(exact, replace(grid, scale=scale)) for scale, _ in found]
    best = next((i for i, far in enumerate(distances) if far >= enough), int(np.argmax(distances)))
    return found[best][0], distances[best]


def distance(exact: Float64[npt.NDArray[np.float64], "n ..."], grid: Grid) -> float:
    """How far the nearest entry is from a tie, in steps; those that saturate either way do not count."""
    steps = exact / grid.scale
    lowest, highest = grid.lowest - grid.zero_point, grid.highest - grid.zero_point
    counted = steps[(steps > lowest - 0.25) & (steps < highest + 0.25)]
    return float(np.abs(np.abs(counted - np.floor(counted)) - 0.5).min(initial=0.5))


def _evaluate(numbers: Tensor, x: ir.Value, nodes: Sequence[ir.Node], y: ir.Value) -> npt.NDArray[np.float64]:
    values: dict[ir.Value, Any] = {x: numbers}
    for node in nodes:
        inputs = [None if v is None else values[v] if v in values else _constant(v, numbers) for v in node.inputs]
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        for name, v in ((ELEMENT_TYPE, node.inputs[0]), (RESULT_TYPE, node.outputs[0])):
            attributes[name] = 0 if v is None or v.dtype is None else v.dtype.value
        values[node.outputs[0]] = OPERATORS[node.op_type](attributes, *inputs)
    return np.asarray(dense(values[y]).numpy(), np.float64)


def _constant(value: ir.Value, like: Tensor) -> Tensor:
    array = constant(value)
    assert array is not None
    tensor = torch.from_numpy(np.array(array))
    return tensor.to(like.dtype) if tensor.is_floating_point() else tensor
