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

import numpy as np
import onnx_ir as ir

from .values import add_initializer, constant, only_consumer

__all__ = ["FoldClip"]

_HOMOGENEOUS = ("MaxPool", "AveragePool", "GlobalAveragePool", "Flatten", "Reshape", "Transpose")
"""Operators with f(c x) = c f(x) for c > 0 that have no weights."""


class FoldClip(ir.passes.InPlacePass):
    """Clip(0, M) becomes Clip(0, L * 2^e), the neighbours' weights rescaled; e = round(log2(M / L)).

    Args:
        largest: L, the largest integer of an activation.
    """

    def __init__(self, largest: int = 255) -> None:
        super().__init__()
        self._largest = largest

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            modified |= _fold(model.graph, node, self._largest)
        return ir.passes.PassResult(model, modified)


def _fold(graph: ir.Graph, node: ir.Node, largest: int) -> bool:
    """True where `node` was a Clip(0, M) between weights, and now is one at a better bound."""
    high = _bound(node)
    before, behind = _producer(node), _readers(node.outputs[0])
    if high is None or before is None or not behind:
        return False
    bound = largest * 2.0 ** round(math.log2(high / largest))
    c = bound / high
    if c == 1:
        return False
    for index in range(1, len(before.inputs)):
        _scale(graph, before, index, c)
    for reader in behind:
        _scale(graph, reader, 1, 1 / c)
    node.replace_input_with(2, add_initializer(graph, "clip_bound", np.array(bound, np.float32)))
    return True


def _bound(node: ir.Node) -> float | None:
    """M of a Clip(0, M)."""
    if node.op_type != "Clip" or len(node.inputs) != 3:
        return None
    low, high = constant(node.inputs[1]), constant(node.inputs[2])
    return None if low is None or high is None or float(low) != 0 or float(high) <= 0 else float(high)


def _producer(node: ir.Node) -> ir.Node | None:
    """The Conv or Gemm with constant weights that alone makes what `node` alone reads."""
    x = node.inputs[0] if node.inputs else None
    before = x.producer() if x is not None else None
    if x is None or before is None or before.op_type not in ("Conv", "Gemm") or only_consumer(x) is not node:
        return None
    return None if any(v is not None and constant(v) is None for v in before.inputs[1:]) else before


def _readers(value: ir.Value) -> list[ir.Node] | None:
    """The Conv and Gemm nodes behind `value`; None where anything else reads it."""
    if value.is_graph_output():
        return None
    found: list[ir.Node] = []
    for node, index in value.uses():
        if node.op_type in ("Conv", "Gemm") and index == 0 and constant(node.inputs[1]) is not None:
            found.append(node)
        elif node.op_type in _HOMOGENEOUS:
            behind = _readers(node.outputs[0])
            if behind is None:
                return None
            found += behind
        else:
            return None
    return found


def _scale(graph: ir.Graph, node: ir.Node, index: int, c: float) -> None:
    old = node.inputs[index]
    array = constant(old)
    if old is None or array is None:
        return
    scaled = (array.astype(np.float64) * c).astype(np.float32)
    node.replace_input_with(index, add_initializer(graph, old.name or "weight", scaled))
