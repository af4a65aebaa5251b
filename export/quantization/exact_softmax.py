"""Softmax of 8-bit numbers, in float operations that every engine rounds to the same integers.

    e_i = round(K exp(x_i - max_j x_j))             a function of q_i - max_j q_j: 256 entries
    p_i = round(e_i * (256 / sum_j e_j))            steps of 1/256

Engines differ in the last bits of exp, and add in orders of their own. So K, 2^14 or less, is chosen such that no entry
lies near a rounding tie, and the sum of integers stays below 2^24, where no order rounds. What is left are one division
and one product, which IEEE 754 rounds correctly; 256 is a power of two, as OpenVINO divides as a * (1 / b).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ...runtime.shapes import Float64
from ..integer_types import UINT8
from ..passes.node_pass import NodePass
from ..passes.nodes_in_front import Chain
from ..passes.values import attribute
from .between_quantizers import Between, between

__all__ = ["ExactSoftmax", "factor"]

_LARGEST = 2**14
"""K: exact to 15 bits of the largest probability, for 1,024 numbers."""

_EXACT_BELOW = 2**24
"""Up to here float32 holds every integer."""

_LAST_BITS = 32 * 2.0**-24
"""Relative errors of exp: ten times those measured of ONNX Runtime (x86 and 64-bit Arm) and OpenVINO."""


_Entries = Float64[npt.NDArray[np.float64], "256"]


class ExactSoftmax(NodePass[Between]):
    """Softmax between quantizers becomes the operations above."""

    def match(self, node: ir.Node) -> Between | None:
        """Its integers."""
        if node.op_type != "Softmax":
            return None
        axis = attribute(node, "axis", -1)
        return between(node, slice(axis, axis + 1 or None))

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: Between) -> None:
        chain = Chain(graph, node)
        axes = chain.constant("axes", found.axes, np.int64)
        x = node.inputs[0]
        highest = chain("ReduceMax", x, axes, label="max")
        exponential = chain("Exp", chain("Sub", x, highest, label="below_max"), label="exp")
        large = chain("Mul", exponential, chain.constant("factor", factor(found.scale, found.numbers)), label="large")
        integers = chain("Round", large, label="integers")
        total = chain("ReduceSum", integers, axes, label="sum")
        per_step = chain("Div", chain.constant("steps_of_one", 1 / found.step), total, label="per_step")
        steps = chain("Mul", integers, per_step, label="steps")
        found.quantizer.replace_input_with(0, steps)
        found.quantizer.replace_input_with(1, chain.constant("one", 1))
        graph.remove(node, safe=True)


def factor(scale: float, count: int) -> float:
    """K, float32: large, and no entry within its error of a tie; if all have one, that of most clearance.

    Args:
        scale: of the integers; of a power of two, differences are exact.
        count: how many numbers are added.
    """
    below = np.arange(UINT8.high + 1) * scale  # max_j x_j - x_i
    is_exact = np.frexp(scale)[0] == 0.5
    argument = below if is_exact else below + 2 * scale * UINT8.high
    error = np.asarray(_LAST_BITS + 2.0**-24 * argument, np.float64)
    found: dict[float, float] = {}
    for halved in range(5):
        largest = min(_LARGEST, _EXACT_BELOW // count) / 2**halved
        candidates = (largest * (1 - np.arange(256) / 1024)).astype(np.float32).tolist()
        found |= {k: _clearance(np.asarray(np.exp(-below) * k, np.float64), error) for k in candidates}
        best = max(found, key=lambda k: found[k])
        if found[best] >= 1:
            break
    return best


def _clearance(entries: _Entries, error: _Entries) -> float:
    distances = np.abs(entries - np.floor(entries) - 0.5)
    return float((distances / np.maximum(entries * error, 1e-30)).min())
