"""ReLU6 with a power-of-two scale: the bound moves to where an 8-bit tensor saturates anyway.

    clip(x, 0, M) = (1 / c) * clip(c x, 0, c M)      for any c > 0

With c = L * 2^e / M, L = 255, the inner bound is exactly the largest value of a uint8 tensor of scale 2^e, so the clamp
costs nothing and is exact; L = 127 for int8 tensors. c goes into the weights in front, 1/c into the weights behind. It
is possible where one Conv or Gemm makes x and every reader, through pools and reshapes only, is a Conv or a Gemm.
(Cross-layer scaling as in Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction",
eq. 7.)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from .elementwise import functions
from .node_pass import NodePass, RefusedError
from .values import add_initializer, constant, only_consumer

__all__ = ["FoldClip"]

_HOMOGENEOUS = ("MaxPool", "AveragePool", "GlobalAveragePool", "Flatten", "Reshape", "Transpose")
"""Operators with f(c x) = c f(x) for c > 0 that have no weights."""


class Fold(NamedTuple):
    """The new bound, its ratio to the old one, and the layers before and behind that are rescaled."""

    bound: float
    ratio: float
    before: ir.Node
    behind: list[ir.Node]


class FoldClip(NodePass[Fold]):
    """Clip(0, M) becomes Clip(0, L * 2^e), the neighbours' weights rescaled; e = round(log2(M / L)).

    Args:
        largest: L, the largest integer of an activation.
    """

    def __init__(self, largest: int) -> None:
        super().__init__()
        self._largest = largest

    def prepare(self, graph: ir.Graph) -> None:
        self._functions = functions(graph)

    def match(self, node: ir.Node) -> Fold | None:
        """None also for a clip that ends there already, or is a part of a function of one tensor."""
        high = None if node in self._functions else _bound(node)
        if high is None:
            return None
        bound = self._largest * 2.0 ** round(math.log2(high / self._largest))
        ratio = bound / high
        if ratio == 1:
            return None
        before, behind = _producer(node), _readers(node.outputs[0])
        if not behind:
            raise RefusedError("nothing reads it")
        return Fold(bound, ratio, before, behind)

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: Fold) -> None:
        for index in range(1, len(found.before.inputs)):
            _scale(graph, found.before, index, found.ratio)
        for reader in found.behind:
            _scale(graph, reader, 1, 1 / found.ratio)
        node.replace_input_with(2, add_initializer(graph, "clip_bound", np.array(found.bound, np.float32)))


def _bound(node: ir.Node) -> float | None:
    """M of a Clip(0, M)."""
    if node.op_type != "Clip" or len(node.inputs) != 3:
        return None
    low, high = constant(node.inputs[1]), constant(node.inputs[2])
    return None if low is None or high is None or float(low) != 0 or float(high) <= 0 else float(high)


def _producer(node: ir.Node) -> ir.Node:
    """The Conv or Gemm with constant weights that alone makes what `node` alone reads."""
    x = node.inputs[0] if node.inputs else None
    before = x.producer() if x is not None else None
    if x is None or before is None or before.op_type not in ("Conv", "Gemm"):
        raise RefusedError("no Conv or Gemm is before it")
    if only_consumer(x) is not node:
        raise RefusedError(f"the {before.op_type} before it is read elsewhere too")
    if any(v is not None and constant(v) is None for v in before.inputs[1:]):
        raise RefusedError(f"the {before.op_type} before it has computed weights")
    return before


def _readers(value: ir.Value) -> list[ir.Node]:
    """The Conv and Gemm nodes behind `value`."""
    if value.is_graph_output():
        raise RefusedError("the caller reads it")
    found: list[ir.Node] = []
    for node, index in value.uses():
        if node.op_type in ("Conv", "Gemm") and index == 0 and constant(node.inputs[1]) is not None:
            found.append(node)
        elif node.op_type in _HOMOGENEOUS:
            found += _readers(node.outputs[0])
        else:
            raise RefusedError(f"{node.op_type} reads it")
    return found


def _scale(graph: ir.Graph, node: ir.Node, index: int, c: float) -> None:
    old = node.inputs[index]
    array = constant(old)
    if old is None or array is None:
        return
    scaled = (array.astype(np.float64) * c).astype(np.float32)
    node.replace_input_with(index, add_initializer(graph, old.name or "weight", scaled))
