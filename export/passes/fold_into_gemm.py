"""A per-feature affine map beside a linear layer becomes a part of it.

    behind:  a * (W x + b) + c                  =  (a W) x + (a b + c)
    before:  W (a x + c) + b                    =  (W a) x + (b + W c)
    through: flatten(a x + c), mean(a x + c)    =  a flatten(x) + c, a mean(x) + c

The third lets a map of channels [N, C, H, W] in: behind a Flatten a channel's numbers stand H * W times. A batch norm
of features (BatchNorm1d) or of channels then costs nothing, wherever only linear layers read it or only one is read by
it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from .affine_map import Affine, affine_map
from .node_pass import NodePass, RefusedError
from .values import add_initializer, attribute, constant, only_consumer, replace_by_chain

__all__ = ["FoldIntoGemm"]

_Array = npt.NDArray[np.float64]


class Fold(NamedTuple):
    """The map's input, its numbers, and the linear layers that take it: one before the map, or all behind it."""

    x: ir.Value
    affine: Affine
    before: ir.Node | None
    behind: list[ir.Node]


class FoldIntoGemm(NodePass[Fold]):
    """Folds Mul, Div, Add, Sub, BatchNormalization and depthwise 1x1 Conv into the Gemm nodes before or behind them."""

    one_a_sweep = True  # the layer that took one map in may take the next

    def match(self, node: ir.Node) -> Fold | None:
        """None also for a convolution that no linear layer alone reads: it has an integer kernel as it is."""
        if node.op_type == "Conv":
            found = _depthwise(node)
            behind = None if found is None else _readers(node.outputs[0])
            return Fold(*found, None, behind) if found and behind else None
        found = affine_map(node, rank=2)
        if found is None:
            return None
        producer = found[0].producer()
        if producer is not None and producer.op_type == "Gemm" and only_consumer(found[0]) is node:
            if _weights(producer) is None:
                raise RefusedError("the Gemm before it has computed weights")
            return Fold(*found, producer, [])
        behind = _readers(node.outputs[0])
        if not behind:
            raise RefusedError("it stands beside no linear layer")
        return Fold(*found, None, behind)

    def rewrite(self, graph: ir.Graph, node: ir.Node, found: Fold) -> None:
        a, c = found.affine
        if found.before is not None:
            weight, bias = _known(found.before)
            merged = _gemm(graph, found.before, weight * a[:, None], a * bias + c)
            replace_by_chain(node, [merged])
            graph.remove(found.before, safe=True)
            return
        node.outputs[0].replace_all_uses_with(found.x)
        graph.remove(node, safe=True)
        for layer in found.behind:
            weight, bias = _known(layer)
            times = weight.shape[1] // len(a)
            scaled = weight * np.repeat(a, times)
            replace_by_chain(
                layer, [_gemm(graph, layer, scaled, bias + np.einsum("kf,f->k", weight, np.repeat(c, times)))]
            )


def _depthwise(node: ir.Node) -> tuple[ir.Value, Affine] | None:
    """(x, (a, b)) of a Conv that is one affine map a channel."""
    x, weight = node.inputs[0], constant(node.inputs[1])
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.zeros(1)
    if x is None or weight is None or bias is None or weight.shape[1:] != (1, 1, 1):
        return None
    moved = any(attribute(node, "pads", [0])) or any(step != 1 for step in attribute(node, "strides", [1]))
    if moved or attribute(node, "group", 1) != len(weight) or x.shape is None or x.shape[1] != len(weight):
        return None
    a = weight.astype(np.float64).reshape(-1)
    return x, (a, np.broadcast_to(bias.astype(np.float64), a.shape))


def _readers(value: ir.Value) -> list[ir.Node]:
    """The linear layers behind `value`; none where anything else reads it too, or the graph returns it."""
    found: list[ir.Node] = []
    for node, index in value.uses():
        behind = [node] if node.op_type == "Gemm" and index == 0 and _weights(node) is not None else []
        if _is_linear(node):
            behind = _readers(node.outputs[0])
        if not behind:
            return []
        found += behind
    return [] if value.is_graph_output() else found


def _is_linear(node: ir.Node) -> bool:
    """Whether the node moves values, or takes their means: f(a x + c) = a f(x) + c."""
    if node.op_type == "AveragePool":
        padded = any(attribute(node, "pads", [0])) or attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
        return not padded and not attribute(node, "ceil_mode", 0)
    return node.op_type == "GlobalAveragePool" or (node.op_type == "Flatten" and attribute(node, "axis", 1) == 1)


def _weights(node: ir.Node) -> tuple[_Array, _Array] | None:
    """W [K, F] and b [K] of a Gemm, y = W x + b; None where they are computed."""
    weight = constant(node.inputs[1])
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else np.zeros(1)
    if weight is None or bias is None or attribute(node, "transA", 0) or bias.size not in (1, *bias.shape[-1:]):
        return None
    matrix = weight.astype(np.float64) * attribute(node, "alpha", 1.0)
    matrix = matrix if attribute(node, "transB", 0) else matrix.T
    scaled = bias.astype(np.float64).reshape(-1) * attribute(node, "beta", 1.0)
    return matrix, np.broadcast_to(scaled, len(matrix))


def _known(node: ir.Node) -> tuple[_Array, _Array]:
    weights = _weights(node)
    assert weights is not None
    return weights


def _gemm(graph: ir.Graph, old: ir.Node, weight: _Array, bias: _Array) -> ir.Node:
    """A Gemm of W and b in place of `old`, W stored the way it was."""
    assert old.inputs[1] is not None
    name = old.inputs[1].name or "weight"
    stored = weight if attribute(old, "transB", 0) else weight.T
    w = add_initializer(graph, name, stored.astype(np.float32))
    b = add_initializer(graph, name.removesuffix("weight") + "bias", bias.astype(np.float32))
    return ir.node("Gemm", [old.inputs[0], w, b], {"transB": int(attribute(old, "transB", 0))})
