"""LayerNormalization of 8-bit numbers, in float operations that every engine rounds to the same integers.

    b = q - 128, d numbers                             whole
    S = sum b,  Q = sum b^2                            whole and below 2^24: no order of adding rounds
    c = d b - S                                        whole: d times the centered number
    V = Q - floor(S^2 / d)                             whole: d times the variance, at most 1 too large
    y = floor(c * (2 / sqrt(V + d epsilon / s_x^2)) * (8 gamma / (s_y sqrt d))) + (round(16 beta / s_y) + 1/2)
    q_y = round(y / 16) + z_y

Each float operation that rounds stands alone, so that IEEE 754 rounds it correctly: none is a sum behind a product,
which an engine may contract to one operation. Each quotient is of a power of two, as OpenVINO divides as a * (1 / b),
but not of one, as ONNX Runtime makes c / r of c * (1 / r). Behind d b stands a floor, without which OpenVINO makes
(b - S / d) d of d b - S. The result is rounded to sixteenths of its step first, and these are no ties of the last
rounding.

Where d is a power of two, c / d = b - S / d is exact as well, and takes fewer operations. Of more than 1,024 numbers
pieces are added, whose sums of squares stay below 2^24, one behind the other.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import onnx_ir as ir

from ..passes.node_pass import NodePass, RefusedError
from ..passes.nodes_in_front import Chain
from ..passes.values import attribute, constant
from .between_quantizers import Between, between

__all__ = ["FINER", "UNIT", "ExactLayerNormalization", "sum_of_squares"]

_MIDDLE = 128
_MOST = 2**24 // 2**8
"""Above, d b is not exact in float32."""

UNIT = 2
"""What is divided."""

FINER = 16
"""Parts of a step of the result."""


class ExactLayerNormalization(NodePass[Between]):
    """LayerNormalization between quantizers becomes the operations above."""

    def match(self, node: ir.Node) -> Between | None:
        """Its integers."""
        if node.op_type != "LayerNormalization":
            return None
        found = between(node, slice(attribute(node, "axis", -1), None))
        if found is not None and found.numbers > _MOST:
            raise RefusedError(f"it works on {found.numbers} numbers, more than {_MOST}")
        return found

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: Between) -> None:
        chain, d = Chain(graph, node), found.numbers
        rows = chain.reshaped(found.integers, (-1, d))
        along = chain.constant("axis", [1], np.int64)
        middle = chain.constant("middle", _MIDDLE, np.uint8)
        b = chain("DequantizeLinear", rows, chain.constant("one", 1), middle, label="numbers")
        total = chain("ReduceSum", b, along, label="sum")
        centered, unit = _centered(chain, rows, b, total, d)
        deviation = _per_deviation(chain, b, total, along=along, found=found, epsilon=attribute(node, "epsilon", 1e-5))
        normal = chain("Mul", centered, deviation, label="normal")
        gain, offset = (_in_parts(node, index, found) for index in (1, 2))
        scaled = chain("Mul", normal, chain.constant("gain", gain * (unit / (UNIT * math.sqrt(d)))), label="scaled")
        parts = chain("Floor", scaled, label="parts")
        moved = chain("Add", parts, chain.constant("offset", np.rint(offset) + 0.5), label="moved")
        found.replace(chain, graph, node, moved, parts_a_step=FINER)


def _centered(chain: Chain, rows: ir.Value, b: ir.Value, total: ir.Value, d: int) -> tuple[ir.Value, float]:
    """d times the centered number and 1, or that number itself and d: what is to multiply it."""
    if d.bit_count() == 1:
        mean = chain("Mul", total, chain.constant("share_exact", 1 / d), label="mean")
        return chain("Sub", b, mean, label="centered"), d
    middle = chain.constant("middle", _MIDDLE, np.uint8)
    db = chain("DequantizeLinear", rows, chain.constant("count", d), middle, label="times_count")
    return chain("Sub", chain("Floor", db, label="whole_times_count"), total, label="centered"), 1


def _per_deviation(
    chain: Chain, b: ir.Value, total: ir.Value, *, along: ir.Value, found: Between, epsilon: float
) -> ir.Value:
    """2 / (sqrt(d) standard deviation), in steps of the input."""
    d = found.numbers
    whole = sum_of_squares(chain, b, along, d, largest=_MIDDLE)
    # a little less than 1 / d: three roundings do not lift it above
    share = chain.constant("share", (1 - 2.0**-21) / d)
    of_mean = chain("Mul", chain("Mul", total, total, label="sum_squared"), share, label="of_mean")
    variance = chain("Sub", whole, chain("Floor", of_mean, label="whole_of_mean"), label="variance")
    least = chain.constant("epsilon", epsilon * d / found.scale**2)
    root = chain("Sqrt", chain("Add", variance, least, label="not_zero"), label="root")
    return chain("Div", chain.constant("unit", UNIT), root, label="per_deviation")


def sum_of_squares(chain: Chain, b: ir.Value, along: ir.Value, d: int, *, largest: int) -> ir.Value:
    """Of whole numbers [rows, d], in pieces so short that no order of adding rounds, one piece behind the other.

    Args:
        chain: where they are computed.
        b: the numbers, none larger than `largest` either way.
        along: [1].
        d: how many stand in a row.
        largest: so many of its squares as are in a piece stay below 2^24.
    """
    pieces, most = [b], 2**24 // largest**2
    if d > most:
        ends = [chain.constant("ends", [end], np.int64) for end in (*range(0, d, most), d)]
        pieces = [chain("Slice", b, start, end, along, label="piece") for start, end in itertools.pairwise(ends)]
    squares = [chain("ReduceSumSquare", piece, along, label="squares") for piece in pieces]
    return functools.reduce(lambda left, right: chain("Add", left, right, label="all_squares"), squares)


def _in_parts(node: ir.Node, index: int, found: Between) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """A constant input in sixteenths of the result's step, one for each number; zero where there is none."""
    array = constant(node.inputs[index]) if index < len(node.inputs) else None
    numbers = np.broadcast_to(0 if array is None else array, [found.shape[axis] for axis in found.axes])
    return numbers.reshape(-1).astype(np.float64) * (FINER / found.step)
