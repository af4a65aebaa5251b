"""x / ||x|| of 8-bit rows, in float operations that every engine rounds to the same integers.

    b = q - z, d numbers                    whole
    Q = sum b^2                             whole and below 2^24: no order of adding rounds
    y = floor(b * (2 / sqrt(Q + 2^-30)) * (8 / s_y)) + 1/2
    q_y = round(y / 16) + z_y

What cosine attention does to queries and keys (Liu et al. 2022, arXiv:2111.09883; `torch.nn.functional.normalize`), as
x / max(||x||, epsilon) or x / ||x||. The length of a row of integers is 0 or at least a step, so a smaller epsilon says
no more than that a row of zeros stays zero, as it does here: 2^-30 is nothing beside 1. Why each operation is as it is
says `exact_normalization.py`.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ..passes.node_pass import NodePass, RefusedError
from ..passes.nodes_in_front import Chain
from ..passes.values import constant
from .between_quantizers import Between, between
from .exact_normalization import FINER, UNIT, sum_of_squares

__all__ = ["ExactUnitLength"]

_NOTHING = 2.0**-30


class ExactUnitLength(NodePass[Between]):
    """A division by the row's own length between quantizers becomes the operations above."""

    def match(self, node: ir.Node) -> Between | None:
        """Its integers."""
        divisor = _length(node)
        if divisor is None:
            return None
        length, least = divisor
        found = between(node, slice(-1, None))
        if found is None:
            return None
        axes = constant(length.inputs[1]) if len(length.inputs) > 1 else None
        if axes is None or axes.tolist() not in ([-1], [len(found.shape) - 1]):
            raise RefusedError("a length is exact along the last axis")
        if least > found.scale:
            raise RefusedError(f"it takes lengths below {least:g} for that, and a step is {found.scale:g}")
        return found

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: Between) -> None:
        chain, d = Chain(graph, node), found.numbers
        assert node.inputs[0] is not None
        zero = node.inputs[0].producer().inputs[2]  # type: ignore[union-attr]
        rows = chain.reshaped(found.integers, (-1, d))
        along = chain.constant("axis", [1], np.int64)
        b = chain("DequantizeLinear", rows, chain.constant("one", 1), zero, label="numbers")
        low = constant(zero)
        largest = 255 if low is None else max(int(low), 255 - int(low))
        whole = sum_of_squares(chain, b, along, d, largest=largest)
        not_zero = chain("Add", whole, chain.constant("nothing", _NOTHING), label="not_zero")
        per_length = chain("Div", chain.constant("unit", UNIT), chain("Sqrt", not_zero, label="length"), label="per")
        direction = chain("Mul", b, per_length, label="direction")
        scaled = chain("Mul", direction, chain.constant("gain", FINER / (UNIT * found.step)), label="scaled")
        parts = chain("Floor", scaled, label="parts")
        moved = chain("Add", parts, chain.constant("half", 0.5), label="moved")
        found.replace(chain, graph, node, moved, parts_a_step=FINER)


def _length(node: ir.Node) -> tuple[ir.Node, float] | None:
    """The ReduceL2 of its own dividend that a division divides by, and the least length that it takes."""
    if node.op_type != "Div" or node.inputs[1] is None:
        return None
    source, least = node.inputs[1].producer(), 0.0
    while source is not None and source.op_type in ("Expand", "Clip") and source.inputs[0] is not None:
        bound = constant(source.inputs[1]) if source.op_type == "Clip" and len(source.inputs) > 1 else None
        least = max(least, 0.0 if bound is None else float(bound))
        source = source.inputs[0].producer()
    if source is None or source.op_type != "ReduceL2" or source.inputs[0] is not node.inputs[0]:
        return None
    return source, least
